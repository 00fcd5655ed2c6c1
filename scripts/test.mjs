// npm test: every suite, each in its runner's own words, and a last line with the sum.
import { BROWSERS, prepareBrowserRuns, runE2e } from "./lib/e2e.mjs";
import { filesUnder } from "./lib/files.mjs";
import { checkLoad, hasLoad } from "./lib/load.mjs";
import { start } from "./lib/run.mjs";
import { main } from "./lib/say.mjs";
import { setup } from "./lib/setup.mjs";
import { runSim } from "./lib/sim.mjs";
import { counts, runSuites } from "./lib/suite.mjs";
import { wasmTest } from "./lib/wasm-test.mjs";

const SEEDS = 50;
const WORKSPACE = ["--workspace", "--exclude", "offprint-wasm"];

const cargo = (...args) => start("cargo", args, { keep: true }).done;

async function unitTests() {
  const { nodeTest } = await import("./lib/node-test.mjs");
  return nodeTest(
    "unit",
    filesUnder("js/src", "worker/src").filter((file) => /\.test\.tsx?$/.test(file)),
  );
}

await main(async () => {
  await setup("rust", "nextest", "chromedriver");
  const env = await prepareBrowserRuns("dev", ...BROWSERS);
  return runSuites([
    {
      name: "rust",
      count: counts.nextest,
      body: () => cargo("nextest", "run", ...WORKSPACE, "--no-fail-fast"),
    },
    {
      name: "rust docs",
      mayBeEmpty: true,
      count: counts.libtest,
      body: () => cargo("test", "--doc", ...WORKSPACE),
    },
    { name: "wasm", count: counts.libtest, body: wasmTest },
    { name: "typescript", count: counts.node, body: unitTests },
    {
      name: `simulator, ${SEEDS} seeds`,
      count: counts.tally,
      body: () => runSim("dev", ["--seeds", String(SEEDS)]),
    },
    ...(hasLoad ? [{ name: "load, quick", count: counts.tally, body: () => checkLoad("dev") }] : []),
    ...BROWSERS.map((browser) => ({
      name: `e2e ${browser}`,
      count: counts.node,
      body: () => runE2e(browser, env),
    })),
  ]);
});
