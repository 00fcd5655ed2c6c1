// npm run check: form, lints, types and layers; after biome in two lanes, so that cargo and the rest run side by side.
import { coreLayers } from "./check/core-layers.mjs";
import { crateArrows } from "./check/crates.mjs";
import { rustRules } from "./check/rust-source.mjs";
import { tsArrows } from "./check/ts-arrows.mjs";
import { filesUnder } from "./lib/files.mjs";
import { npmBin, start } from "./lib/run.mjs";
import { rustfmtEnv } from "./lib/rust.mjs";
import { main, Stop } from "./lib/say.mjs";
import { setup } from "./lib/setup.mjs";

const CLIPPY = ["--all-targets", "--", "-D", "warnings"];
const results = [];

/** Runs one check and says how it went: it has failed when it throws, or returns what is wrong as text. */
async function check(name, body) {
  const began = Date.now();
  const complaint = await body().catch((error) => (error instanceof Stop ? error.message : error.stack));
  const fine = typeof complaint !== "string" || complaint === "";
  results.push(fine);
  console.log(`${fine ? "ok  " : "FAIL"} ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  if (!fine) console.log(complaint);
}

async function quiet(command, args, env) {
  const { code, output } = await start(command, args, { show: false, env }).done;
  return code === 0 ? "" : output.trim() || `exit code ${code}`;
}

const list = (violations) => async () => violations().join("\n");

async function rustLane(generated) {
  const { checkRpcTypes } = await import("./lib/rpc-types.mjs");
  const { buildGlue } = await import("./lib/wasm.mjs");
  await check("rpc types are fresh", checkRpcTypes);
  await check("crate/wasm builds", buildGlue);
  generated();
  await check("rustfmt", () => quiet("cargo", ["fmt", "--all", "--check"], rustfmtEnv()));
  const native = [
    "clippy",
    "--quiet",
    "--workspace",
    "--exclude",
    "offprint-wasm",
    "--all-features",
    ...CLIPPY,
  ];
  await check("clippy", () => quiet("cargo", native));
  const wasm = ["clippy", "--quiet", "-p", "offprint-wasm", "--target", "wasm32-unknown-unknown", ...CLIPPY];
  await check("clippy, wasm32", () => quiet("cargo", wasm));
}

const biome = () =>
  quiet(npmBin("biome"), ["ci", "--colors=off", "--error-on-warnings", "--max-diagnostics=50", "."]);

async function sourceLane(afterGenerated) {
  await check("crate arrows", list(crateArrows));
  await check("layers of crate/core", list(coreLayers));
  await check("unsafe and unwrap", list(rustRules));
  await check("TypeScript arrows", list(tsArrows));
  await afterGenerated;
  const { bundle } = await import("./lib/bundle.mjs");
  await check("the package bundles", bundle);
  const projects = filesUnder("js", "worker", "demo").filter((path) =>
    /\/tsconfig(\.node)?\.json$/.test(path),
  );
  for (const project of projects) await check(`tsc ${project}`, () => quiet(npmBin("tsc"), ["-p", project]));
}

await main(async () => {
  await setup("build");
  // Alone: biome fails when a folder that it walks is renamed, and cargo makes `target` under another name first.
  await check("biome", biome);
  let generated;
  const afterGenerated = new Promise((resolve) => {
    generated = resolve;
  });
  await Promise.all([rustLane(generated), sourceLane(afterGenerated)]);
  const failed = results.filter((fine) => !fine).length;
  console.log(`check: ${results.length - failed} ok, ${failed} failed`);
  return failed === 0 ? 0 : 1;
});
