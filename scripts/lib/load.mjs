import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Figures } from "../../demo/bench/lib/figures.mjs";
import { buildPrograms } from "./programs.mjs";
import { run } from "./run.mjs";
import { inTemp } from "./temp.mjs";

/** The tool pins, reads and evicts as only Linux can. */
export const hasLoad = process.platform === "linux";

/** Builds the server and measures it under load; resolves with the figures as the tool gives them. */
export async function runLoad(profile, args) {
  // This loads an npm package, which is there only after setup.
  const { writeBenchDefinition } = await import("./bench-definition.mjs");
  const program = await buildPrograms(profile, "offprint-server", "offprint-load");
  return inTemp(async (folder) => {
    const definition = await writeBenchDefinition(folder);
    const figures = join(folder, "figures.json");
    const what = ["--server", program("offprint"), "--definition", definition];
    await run(program("offprint-load"), [...what, "--figures", figures, ...args]);
    return JSON.parse(readFileSync(figures, "utf8"));
  });
}

/** The figures; after a run of little of everything only what is counted, and not timed, has anything to reach. */
export function figuresOf(measured, quick) {
  const figures = new Figures();
  for (const { name, unit, rounds, floor, goal, is_counted: isCounted } of measured) {
    figures.add(name, unit, rounds, { floor, goal: quick && !isCounted ? undefined : goal });
  }
  return figures;
}

/** Measures a little of everything: what is not a positive number has failed, and so has what misses its goal. */
export async function checkLoad(profile) {
  const measured = await runLoad(profile, ["--quick"]);
  const figures = figuresOf(measured, true);
  const isFine = measured.map(({ rounds, floor }, index) => {
    const values = [...rounds, ...(floor?.rounds ?? rounds)];
    return values.length > 0 && values.every((value) => value > 0) && figures.json[index].ok !== false;
  });
  const failed = measured.filter((_, index) => !isFine[index]);
  for (const { name } of failed) console.log(`FAIL ${name}`);
  if (failed.length > 0) console.log(`\n${figures.table()}\n`);
  const output = `${isFine.length - failed.length} passed, ${failed.length} failed`;
  console.log(output);
  return { code: failed.length, output };
}
