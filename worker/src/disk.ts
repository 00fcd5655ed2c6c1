// The disk: a dedicated worker that holds one document's files for its hub, or does what a page wants of documents that
// are not open.
import { DocumentDisk } from "./document-disk.ts";
import { listDocuments } from "./documents.ts";
import { Failure, messageOf, problem } from "./problem.ts";
import { removeDocument } from "./removal.ts";
import type { DiskJob, DiskJobDone } from "./rpc.ts";

declare const self: DedicatedWorkerGlobalScope;

self.onmessage = async ({ data }: MessageEvent<{ port: MessagePort } | DiskJob>) => {
  if (typeof data === "object" && "port" in data) new DocumentDisk(data.port, () => self.close());
  else self.postMessage(await perform(data));
};

async function perform(job: DiskJob): Promise<DiskJobDone> {
  try {
    if (job === "list") return { documents: await listDocuments() };
    await removeDocument(job.remove);
    return "removed";
  } catch (error) {
    const why = error instanceof Failure ? error.problem : problem("internal", `BUG: ${messageOf(error)}`);
    return { failed: why };
  }
}
