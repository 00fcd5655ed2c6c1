import { join, resolve } from "node:path";
import { root } from "./paths.mjs";
import { run } from "./run.mjs";

const target = resolve(root, process.env.CARGO_TARGET_DIR ?? "target");

/** The server's program. */
export const serverProgram = join(
  target,
  "release",
  process.platform === "win32" ? "offprint.exe" : "offprint",
);

export const buildServer = () => run("cargo", ["build", "--release", "-p", "offprint-server"]);
