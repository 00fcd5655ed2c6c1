import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { inRoot, root } from "./paths.mjs";

/** demo/bench/page/definition.ts → definition.json in this folder, from the sources alone: no dist/, no wasm. */
export async function writeBenchDefinition(folder) {
  const outfile = join(folder, "definition.mjs");
  const contents = `
    export { definitionData } from "./js/src/definition.ts";
    export { todos } from "./demo/bench/page/definition.ts";
  `;
  await build({
    absWorkingDir: root,
    stdin: { contents, resolveDir: root },
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "warning",
    alias: { offprint: inRoot("js/src/index.ts") },
  });
  const { definitionData, todos } = await import(pathToFileURL(outfile).href);
  const file = join(folder, "definition.json");
  writeFileSync(file, JSON.stringify(definitionData(todos)));
  return file;
}
