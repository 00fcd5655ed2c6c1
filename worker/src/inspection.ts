import initWasm, { inspect, inspected } from "../../crate/wasm/pkg/offprint_wasm.js";
import { carryOut, type Files } from "./files.ts";
import { Failure, messageOf } from "./problem.ts";
import type { Problem } from "./rpc.generated.ts";
import type { DiskBatch } from "./rpc.ts";

/** What a device has of a document that no server is known to have (crate/core, inspection.rs). */
export type Unsent = { mutations: number } | "history" | { unknown: Problem };

/** Reads a document's files and finds out; rejects with a `Failure` if the core does not load. */
export async function unsentOf(document: string, files: Files, wasmUrl: string | null): Promise<Unsent> {
  try {
    await initWasm(wasmUrl === null ? undefined : { module_or_path: wasmUrl });
  } catch (error) {
    throw new Failure("not_loaded", `Offprint's module did not load: ${messageOf(error)}`);
  }
  try {
    let found: Unsent | { disk: DiskBatch } = inspect(document);
    while (typeof found === "object" && "disk" in found) {
      const outcome = await carryOut(files, found.disk);
      if ("lost" in outcome) return { unknown: outcome.lost };
      found = inspected(outcome.answer) as typeof found;
    }
    return found;
  } catch (error) {
    if (error instanceof Error) throw error;
    return { unknown: error as Problem };
  }
}
