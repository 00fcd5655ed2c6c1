import { start } from "./run.mjs";

/** Runs the simulator, which prints its seeds and stops at the first violation. */
export const runSim = (args) =>
  start("cargo", ["run", "--release", "--quiet", "-p", "offprint-sim", "--", ...args], { keep: true }).done;
