import { mkdirSync, renameSync } from "node:fs";
import { inRoot } from "./paths.mjs";
import { ask, npmBin, run } from "./run.mjs";
import { say } from "./say.mjs";
import { step } from "./step.mjs";
import { readToml } from "./toml.mjs";

const config = readToml("wasm-pack.toml");
const WASM_INPUTS = [
  ".cargo/config.toml",
  "Cargo.toml",
  "Cargo.lock",
  "crate/protocol",
  "crate/core",
  "crate/wasm",
  "wasm-pack.toml",
];

/** The glue that wasm-bindgen writes, and the module it belongs to. */
export const glue = `${config["out-dir"]}/${config["out-name"]}.js`;
export const glueModule = `${config["out-name"]}_bg.wasm`;
const rawModule = `${config["out-dir"]}/${glueModule}`;

async function buildModule() {
  say("building crate/wasm");
  const cargo = config.features.length > 0 ? ["--features", config.features.join(",")] : [];
  await run("wasm-pack", [
    ...["build", "crate/wasm", "--target", "web", "--mode", "no-install", "--no-opt", "--no-pack"],
    ...[
      "--profile",
      config.profile,
      "--out-dir",
      inRoot(config["out-dir"]),
      "--out-name",
      config["out-name"],
    ],
    ...(cargo.length > 0 ? ["--", ...cargo] : []),
  ]);
}

/** crate/wasm → the glue and its types. */
export const buildGlue = () =>
  step(
    "glue",
    { inputs: WASM_INPUTS, outputs: [glue, rawModule], extra: ask("rustc", ["-vV"]) },
    buildModule,
  );

/** The module as shipped: dist/offprint.wasm, after wasm-opt. */
export async function buildWasm() {
  await buildGlue();
  const flags = [...config["wasm-opt"], ...config["wasm-opt-features"].map((name) => `--enable-${name}`)];
  await step(
    "wasm",
    { inputs: [rawModule, "package-lock.json"], outputs: ["dist/offprint.wasm"], extra: flags },
    async () => {
      say("optimising the module (wasm-opt)");
      mkdirSync(inRoot("dist"), { recursive: true });
      const part = inRoot("dist/offprint.wasm.part");
      await run(npmBin("wasm-opt"), [...flags, inRoot(rawModule), "-o", part]);
      renameSync(part, inRoot("dist/offprint.wasm"));
    },
  );
}
