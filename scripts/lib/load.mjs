import { readFileSync } from "node:fs";
import { join } from "node:path";
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

/** Measures a little of everything: whatever is not a positive number has failed. */
export async function checkLoad(profile) {
  const wrong = (await runLoad(profile, ["--quick"])).map(({ name, rounds, floor }) => {
    const values = [...rounds, ...(floor?.rounds ?? rounds)];
    return values.length > 0 && values.every((value) => value > 0) ? undefined : name;
  });
  const failed = wrong.filter((name) => name !== undefined);
  for (const name of failed) console.log(`FAIL ${name}`);
  const output = `${wrong.length - failed.length} passed, ${failed.length} failed`;
  console.log(output);
  return { code: failed.length, output };
}
