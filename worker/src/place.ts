import { DocumentFiles } from "./document-files.ts";
import { IndexedDbFiles } from "./indexed-db-files.ts";
import type { Entry, LastingKind } from "./registry.ts";

/** Where a document is: where it is noted to be, else where it is found. */
export async function placeOf(document: string, entry: Entry | undefined): Promise<LastingKind | undefined> {
  if (entry) return entry.kind;
  if (await IndexedDbFiles.there(document)) return "indexedDb";
  return (await DocumentFiles.there(document)) ? "opfs" : undefined;
}

/** Removes a document's files, once nobody has them open; rejects when the signal is aborted before. */
export function discard(kind: LastingKind, document: string, signal: AbortSignal): Promise<void> {
  return kind === "opfs" ? DocumentFiles.discard(document, signal) : IndexedDbFiles.discard(document);
}
