import { readFileSync } from "node:fs";
import { dirname } from "node:path/posix";
import { filesUnder } from "../lib/files.mjs";
import { inRoot } from "../lib/paths.mjs";

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

const TEST_MODULE = /#\[cfg\(test\)\]\s*(?:pub(?:\([\w ]+\))? )?mod (\w+);/g;

/** The Rust files under a folder that are compiled for tests only. */
export function testFiles(folder) {
  const files = filesUnder(folder).filter((path) => path.endsWith(".rs"));
  const found = new Set(files.filter((path) => /\/(tests|examples|benches)\//.test(path)));
  for (const path of files) {
    const inside = /\/(lib|main|mod)\.rs$/.test(path) ? dirname(path) : path.slice(0, -".rs".length);
    for (const [, name] of readFileSync(inRoot(path), "utf8").matchAll(TEST_MODULE)) {
      found.add(`${inside}/${name}.rs`).add(`${inside}/${name}/mod.rs`);
    }
  }
  return found;
}

/** Every place in the code where the pattern occurs, as `file:line`. */
function places(path, code, pattern) {
  return [...code.matchAll(pattern)].map((hit) => `${path}:${code.slice(0, hit.index).split("\n").length}`);
}

const VFS = "crate/core/src/vfs.rs";

/** `unsafe` outside the VFS, `.unwrap()` outside tests, and crates that leave the workspace's lints. */
export function rustRules() {
  const wrong = [];
  const tests = testFiles("crate");
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
    if (!tests.has(path))
      wrong.push(...places(path, code, /\.unwrap\(\)/g).map((at) => `${at}: .unwrap() outside tests`));
  }
  return wrong;
}
