import { readFileSync } from "node:fs";
import { inRoot } from "../lib/paths.mjs";
import { filesUnder } from "../lib/step.mjs";

const blank = (text) => text.replace(/[^\n]/g, " ");

/** A Rust file without comments, strings and its test modules; line numbers stay. */
export function rustCode(path) {
  const code = readFileSync(inRoot(path), "utf8").replace(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|r(#+)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"|'(?:\\.[^']*|[^'\\\n])'/g,
    blank,
  );
  const tests = code.search(/#\[cfg\(test\)\]\s*(pub )?mod \w+ *\{/);
  return tests === -1 ? code : code.slice(0, tests);
}

export const isTest = (path) => /\/(tests|examples|benches)\/|(\/|_)tests?\.rs$/.test(path);

/** Every place in the code where the pattern occurs, as `file:line`. */
export function places(path, code, pattern) {
  return [...code.matchAll(pattern)].map((hit) => `${path}:${code.slice(0, hit.index).split("\n").length}`);
}

const VFS = "crate/core/src/vfs.rs";

/** `unsafe` outside the VFS, `.unwrap()` outside tests, and crates that leave the workspace's lints. */
export function rustRules() {
  const wrong = [];
  for (const path of filesUnder("crate")) {
    if (
      path.endsWith("Cargo.toml") &&
      !/^\[lints\]\nworkspace = true$/m.test(readFileSync(inRoot(path), "utf8"))
    ) {
      wrong.push(`${path}: [lints] workspace = true is missing`);
    }
    if (!path.endsWith(".rs")) continue;
    const code = rustCode(path);
    if (path !== VFS)
      wrong.push(
        ...places(path, code, /\bunsafe\b|\(unsafe_code\)/g).map((at) => `${at}: unsafe outside ${VFS}`),
      );
    if (!isTest(path))
      wrong.push(...places(path, code, /\.unwrap\(\)/g).map((at) => `${at}: .unwrap() outside tests`));
  }
  return wrong;
}
