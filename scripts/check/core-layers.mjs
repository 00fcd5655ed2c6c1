import { filesUnder } from "../lib/files.mjs";
import { rustCode, testFiles } from "./rust-source.mjs";

const SOURCE = "crate/core/src";

/** The names inside `{…}` at its first level, each with the name it starts from: `a::b` is `a`. */
function firstNames(group) {
  let depth = 0;
  let flat = "";
  for (const letter of group) {
    if (letter === "{") depth += 1;
    if (depth === 0) flat += letter;
    if (letter === "}") depth -= 1;
  }
  return flat.split(",").map((name) => name.trim().match(/^\w+/)?.[0]);
}

function closing(text, open) {
  let depth = 0;
  for (let at = open; at < text.length; at += 1) {
    if (text[at] === "{") depth += 1;
    if (text[at] === "}") depth -= 1;
    if (depth === 0) return at;
  }
  return text.length;
}

/** What the code takes from the crate's root, as [name, index]. `up` is how the root is written there. */
function* taken(code, up) {
  for (const hit of code.matchAll(new RegExp(`(?<![\\w:])(?:${up})::(\\w+|\\{|\\*)`, "g"))) {
    if (hit[1] !== "{") yield [hit[1], hit.index];
    else {
      const open = hit.index + hit[0].length - 1;
      for (const name of firstNames(code.slice(open + 1, closing(code, open)))) yield [name, hit.index];
    }
  }
}

/** In crate/core the order of `mod` in lib.rs is the order of layers: no module uses a later one. */
export function coreLayers() {
  const lib = rustCode(`${SOURCE}/lib.rs`);
  const layers = [...lib.matchAll(/^(?:pub(?:\([\w ]+\))? )?mod (\w+);/gm)].map((hit) => hit[1]);
  const home = new Map(layers.map((name) => [name, name]));
  for (const [, module, names] of lib.matchAll(/use (?:self::|crate::)?(\w+)::(\w+|\{[^;]*\});/g)) {
    for (const name of names.match(/\w+/g)) if (!home.has(name)) home.set(name, module);
  }
  const wrong = [];
  const tests = testFiles(SOURCE);
  for (const path of filesUnder(SOURCE)) {
    const parts = path
      .slice(SOURCE.length + 1)
      .replace(/\.rs$/, "")
      .split("/");
    const layer = layers.indexOf(parts[0]);
    if (!path.endsWith(".rs") || parts[0] === "lib" || tests.has(path)) continue;
    if (layer === -1) {
      wrong.push(`${path}: no \`mod ${parts[0]}\` in lib.rs`);
      continue;
    }
    const code = rustCode(path);
    const top = parts.length === 1 || (parts.length === 2 && parts[1] === "mod");
    for (const [name, index] of taken(code, top ? "crate|super" : "crate|super::super")) {
      const line = code.slice(0, index).split("\n").length;
      if (name === "*") wrong.push(`${path}:${line}: name what is taken from the crate's root`);
      else if (layers.indexOf(home.get(name)) > layer) {
        wrong.push(`${path}:${line}: ${parts[0]} uses ${name} of the later module ${home.get(name)}`);
      }
    }
  }
  return wrong;
}
