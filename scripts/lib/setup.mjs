import { ensureBrowser } from "./browsers.mjs";
import { ensureNextest, ensureWasmBindgen, ensureWasmPack, findCargoTools } from "./cargo-tools.mjs";
import { ensureClang } from "./clang.mjs";
import { ensureNpm } from "./npm.mjs";
import { ensureRust } from "./rust.mjs";

const build = async () => {
  await ensureRust();
  await ensureClang();
  await ensureWasmBindgen();
  await ensureWasmPack();
};

const STEPS = {
  build,
  rust: ensureRust,
  nextest: ensureNextest,
  chromium: () => ensureBrowser("chromium"),
  chromedriver: () => ensureBrowser("chromedriver"),
  firefox: () => ensureBrowser("firefox"),
};

/** Sees to it that what a command needs is there: silent when it is, otherwise says what it installs and how. */
export async function setup(...needs) {
  findCargoTools();
  await ensureNpm();
  for (const need of needs) await STEPS[need]();
}
