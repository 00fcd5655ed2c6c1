import { existsSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { inRoot } from "./paths.mjs";

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

/** Writes a file so that whoever reads it sees the old text or the new, never a part. */
export function writeWhole(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.part`, content);
  renameSync(`${path}.part`, path);
}
