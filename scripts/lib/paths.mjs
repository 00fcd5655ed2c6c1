import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** The repository's top folder. */
export const root = resolve(import.meta.dirname, "../..");

/** A path inside the repository. */
export const inRoot = (...parts) => join(root, ...parts);

/** What we keep between runs, outside git. */
export const cacheDir = inRoot(".offprint");

export const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));
