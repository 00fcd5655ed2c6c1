import type { Status } from "../../worker/src/rpc.generated.ts";
import { Attachment } from "./attachment.ts";
import { type DocumentDefinition, definitionData, isDefinition } from "./definition.ts";
import { Document } from "./document.ts";
import { checkDocumentId } from "./document-id.ts";
import { OffprintError } from "./error.ts";
import { beginImport, type ImportSource } from "./import.ts";
import { serverUrl } from "./server-url.ts";
import { type WorkerOptions, workersOf } from "./workers.ts";

export type OpenOptions = WorkerOptions & {
  /** The server's URL, without query and fragment; without a server the document lives on this device only. */
  server?: string | URL | undefined;
  /**
   * Gives the token for the server: asked for, in one of the tabs, at every connection and every request for a large
   * document's snapshot. What takes longer than 20 seconds is given up, as `unauthorized`.
   */
  auth?: (() => string | Promise<string>) | undefined;
  /** Where offprint.wasm is, if not beside hub.js. */
  wasmUrl?: string | URL | undefined;
  /**
   * What to do where the browser offers no storage that lasts: without it `open` fails with `storage_unavailable`; with
   * `"memory"` the document is there until its last tab closes, and `status.storage.durable` is false.
   */
  fallback?: "memory" | undefined;
  /**
   * What to do where this device made a history of its own, without a server, and the server has another: without it
   * `open` fails with `diverged` and nothing is changed; with `"takeServers"` the device's is given up for the server's.
   */
  onDiverged?: "takeServers" | undefined;
  /**
   * Whether the browser is asked once to keep the origin's storage (`navigator.storage.persist`), after the first change
   * that a person made; `true` unless the app asks itself. `status.storage.persisted` tells what came of it.
   */
  persist?: boolean | undefined;
  /** Called with each status, also while the document is still being opened (`blocked`, say). */
  onStatus?: ((status: Status) => void) | undefined;
  /** Makes a new document of a plain SQLite file; rejects with `exists` if the document is on the device already. */
  import?: ImportSource | undefined;
  /** Gives up opening. */
  signal?: AbortSignal | undefined;
};

function checkPlatform(): void {
  const missing = !isSecureContext
    ? "this page is not a secure context (https or localhost)"
    : typeof SharedWorker !== "function"
      ? "this browser has no SharedWorker"
      : !navigator.locks
        ? "this browser has no Web Locks"
        : undefined;
  if (missing) throw new OffprintError("storage_unavailable", `documents cannot be kept here: ${missing}`);
}

/** Locks are refused to pages without an origin: sandboxed frames, say. */
function refusedByBrowser(error: unknown): OffprintError {
  const message = `documents cannot be kept here: ${error instanceof Error ? error.message : String(error)}`;
  return new OffprintError("storage_unavailable", message, { cause: error });
}

/** Opens a document, or creates it; needs no network. Rejects with the code of what is in the way. */
export async function open<D extends DocumentDefinition>(
  definition: D,
  id: string,
  options: OpenOptions = {},
): Promise<Document<D>> {
  if (!isDefinition(definition)) {
    throw new OffprintError("bad_definition", "open takes what defineDocument gave");
  }
  checkDocumentId(id);
  checkPlatform();
  const { signal, onStatus, wasmUrl } = options;
  const attachment = new Attachment({
    definition: definitionData(definition),
    document: id,
    server: options.server === undefined ? null : serverUrl(options.server),
    auth: options.auth,
    workers: workersOf(options),
    wasmUrl: wasmUrl === undefined ? null : new URL(wasmUrl, location.href).href,
    memory: options.fallback === "memory",
    persist: options.persist ?? true,
    takeServers: options.onDiverged === "takeServers",
  });
  const giveUp = () =>
    attachment.abandon(new OffprintError("closed", "opening was given up", { cause: signal?.reason }));
  if (signal?.aborted) giveUp();
  signal?.addEventListener("abort", giveUp);
  try {
    if (onStatus) attachment.onStatus(onStatus);
    const importing =
      options.import === undefined ? undefined : await beginImport(attachment, options.import);
    await attachment.start();
    await Promise.all([attachment.opened, importing?.done]);
    return new Document(id, definition, attachment);
  } catch (error) {
    const why = error instanceof OffprintError ? error : refusedByBrowser(error);
    attachment.abandon(why);
    throw why;
  } finally {
    signal?.removeEventListener("abort", giveUp);
  }
}
