import { build } from "./build.mjs";
import { buildDemo } from "./demo.mjs";
import { filesUnder } from "./files.mjs";
import { inRoot } from "./paths.mjs";
import { buildServer } from "./programs.mjs";
import { Stop } from "./say.mjs";
import { setup } from "./setup.mjs";

export const BROWSERS = ["chromium", "firefox"];

/** What the browser tests and the bench need: the built package, the built demo and the server's program of a profile. */
export async function prepareBrowserRuns(profile, ...browsers) {
  await build();
  await setup(...browsers);
  const server = await buildServer(profile);
  await buildDemo();
  return { OFFPRINT_SERVER: server, OFFPRINT_DEMO: inRoot("demo/dist") };
}

/** Runs demo/e2e and worker/e2e in one browser; the tests read what is below from the environment. */
export async function runE2e(browser, env, grep) {
  const { nodeTest } = await import("./node-test.mjs");
  const files = filesUnder("demo/e2e", "worker/e2e").filter((file) => /\.test\.(ts|mjs)$/.test(file));
  if (files.length === 0) throw new Stop("demo/e2e and worker/e2e have no tests.");
  // A browser that hangs fails its test instead of the whole run. The long forms' kills take a minute each at most.
  const minutes = Math.max(15, Number(process.env.OFFPRINT_KILLS ?? 0));
  const args = [
    // Most of a test's time is waiting.
    "--test-concurrency=2",
    `--test-timeout=${minutes * 60_000}`,
    ...(grep ? [`--test-name-pattern=${grep}`] : []),
  ];
  return nodeTest(`e2e-${browser}`, files, { args, env: { ...env, OFFPRINT_BROWSER: browser } });
}
