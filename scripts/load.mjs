// npm run load: what the server does under load, measured from outside on the real process.
// Arguments: --quick for a little of everything, --only NAME for some of it, --json for the figures alone.
import { readArgs } from "./lib/args.mjs";
import { figuresOf, hasLoad, runLoad } from "./lib/load.mjs";
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
  const measured = await runLoad("release", ["--only", only, ...(quick ? ["--quick"] : [])]);
  const figures = figuresOf(measured, quick);
  if (!json) console.log(`\n${figures.table()}\n`);
  console.log(JSON.stringify({ figures: figures.json }));
  return 0;
});
