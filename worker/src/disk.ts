// The disk: a dedicated worker that holds one document's files for its hub.
import { DocumentDisk } from "./document-disk.ts";

declare const self: DedicatedWorkerGlobalScope;

self.onmessage = ({ data }: MessageEvent<{ port: MessagePort }>) => {
  new DocumentDisk(data.port, () => self.close());
};
