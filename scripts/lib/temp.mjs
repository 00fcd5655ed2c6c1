import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs the function with a fresh temporary folder, which goes when it is done. */
export async function inTemp(body) {
  const folder = mkdtempSync(join(tmpdir(), "offprint-"));
  try {
    return await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
