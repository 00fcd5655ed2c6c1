// npm run load: what the server does under load, measured from outside on the real process.
// Arguments: --quick for a little of everything, --only NAME for some of it, --json for the figures alone.
import { Figures } from "../demo/bench/lib/figures.mjs";
import { readArgs } from "./lib/args.mjs";
import { hasLoad, runLoad } from "./lib/load.mjs";
import { main, Stop } from "./lib/say.mjs";
import { setup } from "./lib/setup.mjs";

await main(async () => {
  const { quick, only, json } = readArgs({
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    json: { type: "boolean", default: false },
  });
  if (!hasLoad) throw new Stop("npm run load needs Linux.");
  await setup("rust");
  const figures = new Figures();
  const args = ["--only", only, ...(quick ? ["--quick"] : [])];
  for (const { name, unit, rounds, floor, goal } of await runLoad("release", args)) {
    // A little of everything says nothing about what to reach.
    figures.add(name, unit, rounds, { floor, goal: quick ? undefined : goal });
  }
  if (!json) console.log(`\n${figures.table()}\n`);
  console.log(JSON.stringify({ figures: figures.json }));
  return 0;
});
