import { readFileSync } from "node:fs";
import { Figures } from "../../demo/bench/lib/figures.mjs";
import { inRoot } from "./paths.mjs";
import { run } from "./run.mjs";

/** The most that the first may take, as a multiple of what the second takes in the same run. */
const GOALS = [
  { name: "native commit, told", of: "commit/primary", floor: "commit/bare", ratio: 1.3 },
  { name: "native open after a kill, 10 MB", of: "open/killed", floor: "open/ordered", ratio: 1.3 },
];

/** Milliseconds per iteration that criterion measured last. */
function milliseconds(bench) {
  const path = inRoot(`${process.env.CARGO_TARGET_DIR ?? "target"}/criterion/${bench}/new/estimates.json`);
  return JSON.parse(readFileSync(path, "utf8")).median.point_estimate / 1e6;
}

/** Runs criterion's benches of the server, and prints their ratios. */
export async function nativeBench() {
  await run("cargo", ["bench", "--quiet", "-p", "offprint-server", "--bench", "storage"]);
  const figures = new Figures();
  for (const { name, of, floor, ratio } of GOALS) {
    const beside = { name: floor, rounds: [milliseconds(floor)] };
    figures.add(name, "ms", [milliseconds(of)], { floor: beside, goal: { ratio } });
  }
  console.log(`\n${figures.table()}\n`);
}
