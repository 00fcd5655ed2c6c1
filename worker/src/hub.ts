// The hub: a SharedWorker that runs one document for every tab of the origin.
import { DocumentHub } from "./document-hub.ts";

declare const self: SharedWorkerGlobalScope;

const hub = new DocumentHub(() => self.close());

// Before anything is awaited: the first connection is not announced twice.
self.onconnect = ({ ports: [port] }) => {
  if (port) hub.connect(port);
};
