// npm run sim -- --seeds N: replicas and a primary in one process, with faults. Arguments go to the simulator.
import { main } from "./lib/say.mjs";
import { setup } from "./lib/setup.mjs";
import { runSim } from "./lib/sim.mjs";

await main(async () => {
  await setup("rust");
  return (await runSim("release", process.argv.slice(2))).code;
});
