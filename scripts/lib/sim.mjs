import { start } from "./run.mjs";

/** Runs the simulator, which prints its seeds and stops at the first violation. */
export const runSim = (profile, args) =>
  start("cargo", ["run", "--profile", profile, "--quiet", "-p", "offprint-sim", "--", ...args], {
    keep: true,
  }).done;
