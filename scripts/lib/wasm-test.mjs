import { writeWhole } from "./files.mjs";
import { inRoot } from "./paths.mjs";
import { start } from "./run.mjs";

const FLAGS = [
  "--headless",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Runs crate/wasm's tests in a headless Chromium; its path and flags can only be said in a file beside the crate. */
export async function wasmTest() {
  const args = process.getuid?.() === 0 ? [...FLAGS, "--no-sandbox"] : FLAGS;
  const options = { binary: process.env.OFFPRINT_CHROMIUM, args };
  writeWhole(inRoot("crate/wasm/webdriver.json"), JSON.stringify({ "goog:chromeOptions": options }, null, 2));
  const test = ["test", "--headless", "--chrome", "--chromedriver", process.env.OFFPRINT_CHROMEDRIVER];
  const env = { WASM_BINDGEN_TEST_TIMEOUT: "120", WASM_BINDGEN_TEST_DRIVER_TIMEOUT: "60" };
  return start("wasm-pack", [...test, "--mode", "no-install", "crate/wasm"], { keep: true, env }).done;
}
