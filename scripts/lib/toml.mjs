import { readFileSync } from "node:fs";
import { inRoot } from "./paths.mjs";
import { Stop } from "./say.mjs";

/** The part of TOML that wasm-pack.toml uses: `key = value` on one line, values as JSON writes them. */
export function readToml(path) {
  const entries = {};
  for (const [at, line] of readFileSync(inRoot(path), "utf8").split("\n").entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [, key, value] = line.match(/^([\w-]+) = (.+)$/) ?? [];
    try {
      entries[key] = JSON.parse(value);
    } catch {
      throw new Stop(
        `${path}:${at + 1}: expected \`key = value\` on one line, the value a string, a flag or an array.`,
      );
    }
  }
  return entries;
}
