import type { DocumentInfo } from "../../worker/src/rpc.ts";
import { OffprintError } from "./error.ts";
import { HOW_TO_LOAD, type WorkerOptions, workersOf } from "./workers.ts";

/**
 * The documents of this origin that are in reach on this device, by id, open ones too. What is not their files' own word (definition,
 * pending, used) is as of the last note, and null if there is none.
 */
export function listDocuments(options: WorkerOptions = {}): Promise<DocumentInfo[]> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) =>
      reject(
        new OffprintError(
          "not_loaded",
          `Offprint's worker did not list the documents: ${why}; ${HOW_TO_LOAD}`,
        ),
      );
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
    worker.onmessage = ({ data }: MessageEvent<{ documents: DocumentInfo[] }>) => {
      worker.terminate();
      resolve(data.documents);
    };
    worker.postMessage("list");
  });
}
