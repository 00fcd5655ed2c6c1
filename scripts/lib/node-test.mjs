import { rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { cacheDir, inRoot, root } from "./paths.mjs";
import { start } from "./run.mjs";

/** Bundles TypeScript files for Node, one .mjs each; npm packages stay imports. */
async function forNode(files, outdir) {
  rmSync(outdir, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: files,
    outdir,
    outbase: ".",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: "inline",
    logLevel: "warning",
  });
  return files.map((file) => join(outdir, file.replace(/\.tsx?$/, ".mjs")));
}

/** Runs test files under node:test, TypeScript after bundling; resolves with the exit code and the output. */
export async function nodeTest(name, files, { args = [], env } = {}) {
  const typescript = files.filter((file) => /\.tsx?$/.test(file));
  const plain = files.filter((file) => file.endsWith(".mjs")).map((file) => inRoot(file));
  const bundles = typescript.length > 0 ? await forNode(typescript, join(cacheDir, "tests", name)) : [];
  const node = ["--enable-source-maps", "--test", "--test-reporter=spec", ...args, ...plain, ...bundles];
  return start(process.execPath, node, { keep: true, env }).done;
}
