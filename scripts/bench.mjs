// npm run bench: what each operation costs, in headless Chromium and natively. Arguments go to the benches in the browser.
import { prepareBrowserRuns } from "./lib/e2e.mjs";
import { filesUnder } from "./lib/files.mjs";
import { nativeBench } from "./lib/native-bench.mjs";
import { inRoot } from "./lib/paths.mjs";
import { start } from "./lib/run.mjs";
import { main, Stop } from "./lib/say.mjs";

await main(async () => {
  const env = await prepareBrowserRuns("release", "chromium");
  const benches = filesUnder("demo/bench").filter((file) => /^demo\/bench\/[^/]+\.mjs$/.test(file));
  if (benches.length === 0) throw new Stop("demo/bench has no benches.");
  for (const bench of benches) {
    const { code } = await start(process.execPath, [inRoot(bench), ...process.argv.slice(2)], { env }).done;
    if (code !== 0) return code;
  }
  await nativeBench();
  return 0;
});
