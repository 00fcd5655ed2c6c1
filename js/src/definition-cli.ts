#!/usr/bin/env node
// offprint-definition <file> [--export name]: prints the definition in a TypeScript or JavaScript file as JSON.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { definitionData, isDefinition } from "./definition.ts";

class Usage extends Error {}

/** The file's exports, whatever its own imports and syntax need. */
async function load(file: string): Promise<Record<string, unknown>> {
  const folder = mkdtempSync(join(tmpdir(), "offprint-definition-"));
  const outfile = join(folder, "definition.mjs");
  try {
    await build({
      entryPoints: [resolve(file)],
      outfile,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node20",
      logLevel: "error",
      // This very package, wherever the file is.
      alias: { offprint: fileURLToPath(new URL("./index.js", import.meta.url)) },
    });
    return await import(pathToFileURL(outfile).href);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { export: { type: "string" } },
  });
  const [file] = positionals;
  if (file === undefined || positionals.length > 1) {
    throw new Usage("usage: offprint-definition <file> [--export name]");
  }
  const exports = Object.entries(await load(file)).filter(([, value]) => isDefinition(value));
  const names = exports.map(([name]) => name).join(", ");
  const chosen = values.export === undefined ? exports : exports.filter(([name]) => name === values.export);
  const [first, second] = chosen;
  if (second) throw new Usage(`${file} exports several definitions (${names}): choose one with --export`);
  const found = first?.[1];
  if (!isDefinition(found)) {
    const what = values.export === undefined ? "a definition" : `a definition called ${values.export}`;
    throw new Usage(`${file} exports no ${what.slice(2)}${names ? `; it has ${names}` : ""}`);
  }
  process.stdout.write(`${JSON.stringify(definitionData(found), null, 2)}\n`);
}

main().catch((error: unknown) => {
  const message = error instanceof Usage ? error.message : error;
  console.error(message);
  process.exitCode = 1;
});
