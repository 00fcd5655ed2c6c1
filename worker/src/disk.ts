// The disk: a dedicated worker that holds one document's files for its hub, or tells which documents there are.
import { DocumentDisk } from "./document-disk.ts";
import { listDocuments } from "./documents.ts";

declare const self: DedicatedWorkerGlobalScope;

self.onmessage = async ({ data }: MessageEvent<{ port: MessagePort } | "list">) => {
  if (data === "list") self.postMessage({ documents: await listDocuments() });
  else new DocumentDisk(data.port, () => self.close());
};
