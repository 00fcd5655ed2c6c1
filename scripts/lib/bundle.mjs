import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { build } from "esbuild";
import { inRoot, root } from "./paths.mjs";
import { npmBin, run } from "./run.mjs";
import { Stop } from "./say.mjs";
import { step } from "./step.mjs";
import { glue, glueModule } from "./wasm.mjs";

const INPUTS = ["js", "worker", "scripts", "package-lock.json", "tsconfig.base.json"];

/** Makes wasm-bindgen's glue look for the module under its shipped name, beside the bundle. */
const shippedName = {
  name: "shipped-name",
  setup({ onLoad }) {
    onLoad({ filter: /\.js$/ }, ({ path }) => {
      if (path !== inRoot(glue)) return undefined;
      const text = readFileSync(path, "utf8");
      const parts = text.split(`'${glueModule}'`);
      if (parts.length !== 2)
        throw new Stop(`${glue} names ${glueModule} ${parts.length - 1} times, not once.`);
      return { contents: parts.join("'./offprint.wasm'") };
    });
  },
};

const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  sourcemap: true,
  logLevel: "warning",
};

async function bundleAll() {
  const dist = inRoot("dist");
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist)) if (name.startsWith("shared-")) rmSync(`${dist}/${name}`);
  const all = Promise.all([
    // Workers are shipped whole: nobody's bundler has to follow their imports.
    build({
      ...common,
      entryPoints: { hub: "worker/src/hub.ts", disk: "worker/src/disk.ts" },
      outdir: "dist",
      minify: true,
      // Vite bundles workers as classic scripts unless told otherwise.
      supported: { "top-level-await": false },
      plugins: [shippedName],
    }),
    build({
      ...common,
      entryPoints: { index: "js/src/index.ts", react: "js/src/react.ts" },
      outdir: "dist",
      packages: "external",
      splitting: true,
      chunkNames: "shared-[hash]",
    }),
    build({
      ...common,
      entryPoints: { "definition-cli": "js/src/definition-cli.ts" },
      outdir: "dist",
      platform: "node",
      target: "node20",
      packages: "external",
    }),
    run(npmBin("tsc"), ["-p", "js/tsconfig.types.json"]),
  ]);
  await all.catch((error) => {
    throw new Stop(error.message);
  });
}

/** worker/ and js/ → dist/*.js and their types. */
export const bundle = () =>
  step(
    "bundle",
    {
      inputs: [...INPUTS, glue],
      outputs: ["hub", "disk", "index", "react", "definition-cli"].map((n) => `dist/${n}.js`),
    },
    bundleAll,
  );
