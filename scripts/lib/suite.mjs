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

// Below such a line a runner says once more what failed.
const AGAIN = /^✖ failing tests:$|^\s*Summary \[/gm;
const LINES = 40;

/** What failed and why, as a runner says at its end: without stack traces, and bounded. */
function failures(output) {
  const from = [...output.matchAll(AGAIN)].at(-1)?.index;
  const kept = [];
  let tracing = false;
  for (const line of output.slice(from ?? 0).split("\n")) {
    if (/^test at /.test(line)) tracing = false;
    else if (/^\s+at /.test(line)) tracing = true;
    else if (!tracing && line.trim() !== "") kept.push(line);
  }
  return from === undefined ? kept.slice(-LINES) : kept.slice(0, LINES);
}

/** Runs suites one after the other, each to its end, and closes with what failed, a line for each and the sum. */
export async function runSuites(suites) {
  const results = [];
  for (const { name, count, body, mayBeEmpty = false } of suites) {
    say(`suite ${name}`);
    const began = Date.now();
    const { code, output } = await body().catch((error) => {
      const told = error instanceof Stop ? error.message : String(error?.stack ?? error);
      console.log(told);
      return { code: 1, output: told };
    });
    const result = count(output);
    // A runner that fails without a failed test (it did not build, or died) is a failure all the same.
    if (code !== 0 && result.failed === 0) result.failed = 1;
    // A runner that counts nothing has tested nothing.
    if (result.passed + result.failed === 0 && !mayBeEmpty) result.failed = 1;
    results.push({ name, ...result, output, seconds: Math.round((Date.now() - began) / 1000) });
  }
  console.log();
  for (const { name, output } of results.filter(({ failed }) => failed > 0)) {
    console.log(`${name}:\n${failures(output).join("\n")}\n`);
  }
  for (const { name, passed, failed, seconds } of results) {
    console.log(
      `${failed === 0 ? "ok  " : "FAIL"} ${name}: ${passed} passed, ${failed} failed (${seconds} s)`,
    );
  }
  const total = (field) => results.reduce((all, result) => all + result[field], 0);
  console.log(`${total("passed")} passed, ${total("failed")} failed`);
  return total("failed") === 0 ? 0 : 1;
}
