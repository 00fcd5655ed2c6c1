import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { cacheDir, inRoot } from "./paths.mjs";

const stampOf = (name) => join(cacheDir, "built", name);
const skipped = new Set(["node_modules", "target", "pkg", "dist", ".git"]);

/** Every file under these paths of the repository, sorted; a path that is not there has none. */
export function filesUnder(...paths) {
  const found = [];
  const visit = (path) => {
    const full = inRoot(path);
    if (!existsSync(full)) return;
    if (statSync(full).isFile()) found.push(path);
    else for (const name of readdirSync(full)) if (!skipped.has(name)) visit(join(path, name));
  };
  for (const path of paths) visit(path);
  return found.sort();
}

function hashOf(inputs, extra) {
  const hash = createHash("sha256").update(JSON.stringify(extra));
  for (const path of filesUnder(...inputs)) hash.update(`\0${path}\0`).update(readFileSync(inRoot(path)));
  return hash.digest("hex");
}

/** Runs `make` unless its outputs exist and were made from the same inputs (files, folders, and `extra`). */
export async function step(name, { inputs, outputs, extra = null }, make) {
  const hash = hashOf(inputs, extra);
  const stamp = stampOf(name);
  const fresh = outputs.every((path) => existsSync(inRoot(path)));
  if (fresh && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return false;
  await make();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, hash);
  return true;
}

/** Writes a file so that whoever reads it sees the old text or the new, never a part. */
export function writeWhole(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.part`, content);
  renameSync(`${path}.part`, path);
}
