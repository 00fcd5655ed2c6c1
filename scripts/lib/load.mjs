import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "./run.mjs";
import { serverProgram } from "./server.mjs";
import { inTemp } from "./temp.mjs";

/** The tool pins, reads and evicts as only Linux can. */
export const hasLoad = process.platform === "linux";

/** Builds the server and measures it under load; resolves with the figures as the tool gives them. */
export async function runLoad(args) {
  // This loads an npm package, which is there only after setup.
  const { writeBenchDefinition } = await import("./bench-definition.mjs");
  await run("cargo", ["build", "--release", "-p", "offprint-server", "-p", "offprint-load"]);
  return inTemp(async (folder) => {
    const definition = await writeBenchDefinition(folder);
    const figures = join(folder, "figures.json");
    const options = ["--server", serverProgram, "--definition", definition, "--figures", figures, ...args];
    await run(join(dirname(serverProgram), "offprint-load"), options);
    return JSON.parse(readFileSync(figures, "utf8"));
  });
}

/** Measures a little of everything: whatever is not a positive number has failed. */
export async function checkLoad() {
  const wrong = (await runLoad(["--quick"])).map(({ name, rounds, floor }) => {
    const values = [...rounds, ...(floor?.rounds ?? rounds)];
    return values.length > 0 && values.every((value) => value > 0) ? undefined : name;
  });
  const failed = wrong.filter((name) => name !== undefined);
  for (const name of failed) console.log(`FAIL ${name}`);
  const output = `${wrong.length - failed.length} passed, ${failed.length} failed`;
  console.log(output);
  return { code: failed.length, output };
}
