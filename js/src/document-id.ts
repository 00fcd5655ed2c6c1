import { OffprintError } from "./error.ts";

/** Throws `bad_document_id` for what no document can be called. */
export function checkDocumentId(id: unknown): asserts id is string {
  if (typeof id === "string" && /^[A-Za-z0-9._~-]{1,128}$/.test(id)) return;
  const shown = JSON.stringify(String(id).slice(0, 32));
  throw new OffprintError("bad_document_id", `document id ${shown} is not 1-128 of A-Z a-z 0-9 . _ ~ -`);
}
