import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompressSync, constants } from "node:zlib";
import { build } from "vite";

const root = join(import.meta.dirname, "../../..");
const out = join(root, ".offprint/bench");

/** Builds the bench's page, and its definition for the server; resolves with the folder. */
export async function buildPage() {
  await build({
    root: join(import.meta.dirname, "../page"),
    configFile: false,
    logLevel: "warn",
    build: { outDir: out, emptyOutDir: true, target: "es2022" },
    worker: { format: "es" },
  });
  const cli = [join(root, "dist/definition-cli.js"), join(import.meta.dirname, "../page/definition.ts")];
  const { stdout } = await promisify(execFile)(process.execPath, cli, { maxBuffer: 1 << 24 });
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "definition.json"), stdout);
  return out;
}

/** What a browser downloads of the package, brotli 11, in bytes by file. */
export function downloads() {
  const dist = join(root, "dist");
  const names = readdirSync(dist).filter((name) =>
    /^(index|hub|disk|shared-.*)\.js$|^offprint\.wasm$/.test(name),
  );
  const brotli = (name) =>
    brotliCompressSync(readFileSync(join(dist, name)), {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11 },
    }).length;
  return Object.fromEntries(names.map((name) => [name, brotli(name)]));
}
