import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import { root } from "./paths.mjs";
import { Stop } from "./say.mjs";

const windows = process.platform === "win32";
const line = (command, args) => [command, ...args].join(" ");

/**
 * Runs a program in the repository's top folder and resolves with its exit code and what it printed.
 * `show` passes its output through as it comes; `keep` (or not showing it) collects it.
 */
export function start(command, args = [], { env, cwd = root, input, show = true, keep = false } = {}) {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: [
      input === undefined ? "ignore" : "pipe",
      show && !keep ? "inherit" : "pipe",
      show && !keep ? "inherit" : "pipe",
    ],
    shell: windows && /\.(cmd|bat)$/.test(command),
  });
  if (input !== undefined) child.stdin.end(input);
  let output = "";
  let stdout = "";
  for (const [stream, to] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    stream?.setEncoding("utf8").on("data", (text) => {
      output += text;
      if (to === process.stdout) stdout += text;
      if (show) to.write(text);
    });
  }
  const done = new Promise((resolve) => {
    child.on("error", (error) => resolve({ code: 127, output: `${output}${error.message}\n`, stdout }));
    child.on("close", (code, signal) => resolve({ code: code ?? 128, signal, output, stdout }));
  });
  return { child, done };
}

/** Runs a program that has to succeed. */
export async function run(command, args = [], options) {
  const { code, output } = await start(command, args, options).done;
  if (code !== 0)
    throw new Stop(
      `\`${line(command, args)}\` failed with exit code ${code}.${options?.show === false ? `\n${output}` : ""}`,
    );
}

/** What a program prints, trimmed, or undefined when it is missing or fails. */
export function ask(command, args = [], { env, input, stderr = false } = {}) {
  const answer = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    input,
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (answer.status !== 0) return undefined;
  return (stderr ? answer.stdout + answer.stderr : answer.stdout).trim();
}

function executable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The full path of the first of these programs that exists: names are looked up in PATH. */
export function which(...names) {
  for (const name of names) {
    if (!name) continue;
    const candidates = isAbsolute(name)
      ? [name]
      : (process.env.PATH ?? "")
          .split(delimiter)
          .map((folder) => join(folder, windows ? `${name}.exe` : name));
    const found = candidates.find(executable);
    if (found) return found;
  }
  return undefined;
}

/** A program that came with one of our npm packages. */
export const npmBin = (name) => join(root, "node_modules", ".bin", windows ? `${name}.cmd` : name);
