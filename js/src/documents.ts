import type { DiskJob, DiskJobDone, DocumentInfo } from "../../worker/src/rpc.ts";
import { checkDocumentId } from "./document-id.ts";
import { OffprintError } from "./error.ts";
import { HOW_TO_LOAD, type WorkerOptions, workersOf } from "./workers.ts";

export type RemoveOptions = WorkerOptions & {
  /** Removes the document even if no server has all of it. */
  force?: boolean | undefined;
  /** Where offprint.wasm is, if not beside disk.js. */
  wasmUrl?: string | URL | undefined;
};

/**
 * The documents of this origin that are in reach on this device, by id, open ones too. What is not their files' own word (definition,
 * pending, used) is as of the last note, and null if there is none.
 */
export async function listDocuments(options: WorkerOptions = {}): Promise<DocumentInfo[]> {
  const done = await askDisk("list", options);
  if (typeof done === "object" && "documents" in done) return done.documents;
  throw failureOf(done);
}

/**
 * Removes a document from this device, wholly; one that is not here is removed already. Rejects with `blocked` while a tab
 * has it open. Without `force` it also rejects, with `pending`, if no server is known to have all of it: pending mutations,
 * a document that had no server, damaged files. What the server has stays there.
 */
export async function removeDocument(id: string, options: RemoveOptions = {}): Promise<void> {
  checkDocumentId(id);
  const { force = false, wasmUrl } = options;
  const core = wasmUrl === undefined ? null : new URL(wasmUrl, location.href).href;
  const done = await askDisk({ remove: { document: id, force, wasmUrl: core } }, options);
  if (done !== "removed") throw failureOf(done);
}

const failureOf = (done: DiskJobDone): OffprintError =>
  typeof done === "object" && "failed" in done
    ? OffprintError.from(done.failed)
    : new OffprintError("internal", "BUG: the worker did something else than was asked for");

/** Has a disk of its own do something. */
function askDisk(job: DiskJob, options: WorkerOptions): Promise<DiskJobDone> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) =>
      reject(new OffprintError("not_loaded", `Offprint's disk worker did not start: ${why}; ${HOW_TO_LOAD}`));
    let worker: Worker;
    try {
      worker = workersOf(options).disk();
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
      return;
    }
    worker.onerror = (event) => {
      worker.terminate();
      fail(event.message || "its script was not found");
    };
    worker.onmessage = ({ data }: MessageEvent<DiskJobDone>) => {
      worker.terminate();
      resolve(data);
    };
    worker.postMessage(job);
  });
}
