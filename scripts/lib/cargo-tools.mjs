import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { cacheDir, inRoot } from "./paths.mjs";
import { ask, run, which } from "./run.mjs";
import { Stop, say } from "./say.mjs";

const localRoot = join(cacheDir, "tools");

/** Puts where cargo installs programs into PATH. */
export function findCargoTools() {
  const home = process.env.CARGO_INSTALL_ROOT ?? process.env.CARGO_HOME ?? join(homedir(), ".cargo");
  process.env.PATH = [join(localRoot, "bin"), process.env.PATH, join(home, "bin")].join(delimiter);
}

async function install(crate, { version, args = [], local = false }) {
  const prebuilt = which("cargo-binstall") !== undefined;
  const verb = prebuilt ? ["binstall", "--no-confirm"] : ["install", ...args];
  const where = local ? ["--root", localRoot] : [];
  const name = version ? `${crate} ${version}` : crate;
  say(`installing ${name} (cargo ${verb[0]}${prebuilt ? "" : ", a few minutes"})`);
  await run("cargo", [...verb, crate, ...(version ? ["--version", version] : []), ...where]);
}

function lockedVersion(crate) {
  const lock = inRoot("Cargo.lock");
  if (!existsSync(lock)) throw new Stop("Cargo.lock is missing; it belongs to the repository.");
  const found = readFileSync(lock, "utf8").match(new RegExp(`^name = "${crate}"\\nversion = "([^"]+)"`, "m"));
  if (!found) throw new Stop(`Cargo.lock names no ${crate}.`);
  return found[1];
}

/** wasm-bindgen at exactly the locked version: the program and the library refuse to work with another's. */
export async function ensureWasmBindgen() {
  const version = lockedVersion("wasm-bindgen");
  const there = ask("wasm-bindgen", ["--version"])?.split(" ")[1];
  // Someone else's version stays where it is. No --locked: its lock file names versions that some mirrors lack.
  if (there !== version) await install("wasm-bindgen-cli", { version, local: there !== undefined });
}

export async function ensureWasmPack() {
  if (!which("wasm-pack")) await install("wasm-pack", {});
}

export async function ensureNextest() {
  if (!which("cargo-nextest")) await install("cargo-nextest", { args: ["--locked"] });
}
