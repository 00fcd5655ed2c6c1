import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { filesUnder } from "./files.mjs";
import { cacheDir, inRoot } from "./paths.mjs";

const stampOf = (name) => join(cacheDir, "built", name);

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
