import { Stop, say } from "./say.mjs";

const sum = (output, pattern) =>
  [...output.matchAll(pattern)].reduce((total, [, count]) => total + Number(count), 0);
const counter = (passed, failed) => (output) => ({
  passed: sum(output, passed),
  failed: sum(output, failed),
});

/** How each runner says what it counted. */
export const counts = {
  nextest: counter(/^\s*Summary .*?(\d+) passed/gm, /^\s*Summary .*?(\d+) (?:failed|timed out)/gm),
  libtest: counter(/^test result: .*?(\d+) passed/gm, /^test result: .*?(\d+) failed/gm),
  tally: counter(/^(\d+) passed, \d+ failed$/gm, /^\d+ passed, (\d+) failed$/gm),
  node: counter(/^ℹ pass (\d+)$/gm, /^ℹ (?:fail|cancelled) (\d+)$/gm),
};

/** Runs suites one after the other, each to its end, and closes with a line for each and the sum. */
export async function runSuites(suites) {
  const results = [];
  for (const { name, count, body, mayBeEmpty = false } of suites) {
    say(`suite ${name}`);
    const began = Date.now();
    const { code, output } = await body().catch((error) => {
      console.log(error instanceof Stop ? error.message : error.stack);
      return { code: 1, output: "" };
    });
    const result = count(output);
    // A runner that fails without a failed test (it did not build, or died) is a failure all the same.
    if (code !== 0 && result.failed === 0) result.failed = 1;
    // A runner that counts nothing has tested nothing.
    if (result.passed + result.failed === 0 && !mayBeEmpty) result.failed = 1;
    results.push({ name, ...result, seconds: Math.round((Date.now() - began) / 1000) });
  }
  console.log();
  for (const { name, passed, failed, seconds } of results) {
    console.log(
      `${failed === 0 ? "ok  " : "FAIL"} ${name}: ${passed} passed, ${failed} failed (${seconds} s)`,
    );
  }
  const total = (field) => results.reduce((all, result) => all + result[field], 0);
  console.log(`${total("passed")} passed, ${total("failed")} failed`);
  return total("failed") === 0 ? 0 : 1;
}
