// npm run e2e -- [--browser chromium|firefox] [--grep pattern]: demo/e2e and worker/e2e in real
// browsers, against a real server.
import { readArgs } from "./lib/args.mjs";
import { BROWSERS, prepareBrowserRuns, runE2e } from "./lib/e2e.mjs";
import { main, Stop } from "./lib/say.mjs";
import { counts, runSuites } from "./lib/suite.mjs";

await main(async () => {
  const { browser, grep } = readArgs({ browser: { type: "string" }, grep: { type: "string" } });
  if (browser && !BROWSERS.includes(browser)) throw new Stop(`--browser is one of ${BROWSERS.join(", ")}.`);
  const browsers = browser ? [browser] : BROWSERS;
  const env = await prepareBrowserRuns("dev", ...browsers);
  return runSuites(
    browsers.map((name) => ({
      name: `e2e ${name}`,
      count: counts.node,
      body: () => runE2e(name, env, grep),
    })),
  );
});
