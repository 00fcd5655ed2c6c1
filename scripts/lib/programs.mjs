import { join, resolve } from "node:path";
import { root } from "./paths.mjs";
import { run } from "./run.mjs";

const target = resolve(root, process.env.CARGO_TARGET_DIR ?? "target");
const exe = process.platform === "win32" ? ".exe" : "";

/**
 * Builds packages and resolves with the path of a program by its name. Profiles: `release` is what is shipped and
 * measured, `dev` is what is tested, since it checks for overflow.
 */
export async function buildPrograms(profile, ...packages) {
  await run("cargo", ["build", "--profile", profile, ...packages.flatMap((name) => ["-p", name])]);
  return (program) => join(target, profile === "dev" ? "debug" : profile, program + exe);
}

/** Builds the server and resolves with its program. */
export async function buildServer(profile) {
  const program = await buildPrograms(profile, "offprint-server");
  return program("offprint");
}
