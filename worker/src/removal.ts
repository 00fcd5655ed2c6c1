import { DocumentFiles } from "./document-files.ts";
import { type Files, NAMES } from "./files.ts";
import { IndexedDbFiles } from "./indexed-db-files.ts";
import { type Unsent, unsentOf } from "./inspection.ts";
import { documentLock, holdLock } from "./lock.ts";
import { discard, placeOf } from "./place.ts";
import { Failure, isQuota, messageOf } from "./problem.ts";
import { type LastingKind, Registry } from "./registry.ts";
import type { DiskOp, Removal } from "./rpc.ts";

/** How long a document that somebody has is waited for: its last tab may just have closed. */
const PATIENCE = 5_000;

/** The head first: without one, files are not taken for a document by who cannot see that they are being removed. */
const EMPTY = NAMES.flatMap((file): DiskOp[] => [
  { op: "truncate", file, to: 0 },
  { op: "flush", file },
]);

/** Removes a document from this device; rejects with a `Failure`. One that is not there is removed already. */
export async function removeDocument({ document, force, wasmUrl }: Removal): Promise<void> {
  const signal = AbortSignal.timeout(PATIENCE);
  try {
    // As hubs do: whoever opens the document meanwhile waits.
    const lock = await holdLock(documentLock(document), signal);
    try {
      await removeUnused(document, signal, async (files) => {
        if (!force) refuseUnsent(document, await unsentOf(document, files, wasmUrl));
      });
    } finally {
      lock.release();
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (error instanceof DOMException && error.name === "TimeoutError") {
      throw new Failure("blocked", `document ${document} is open: it is removed once no tab has it`);
    }
    const what = `document ${document} is not removed: ${messageOf(error)}`;
    throw new Failure(isQuota(error) ? "quota" : "storage_unavailable", what);
  }
}

/** Removing is what makes room, so that it does not wait for any. */
function unlessFull(error: unknown): void {
  if (!isQuota(error)) throw error;
}

/** Removes what no hub has, once `check` has seen the files and not thrown. */
async function removeUnused(
  document: string,
  signal: AbortSignal,
  check: (files: Files) => Promise<void>,
): Promise<void> {
  const registry = await Registry.open(() => undefined);
  try {
    const entry = await registry.find(document);
    const kind = await placeOf(document, entry);
    if (!kind) return;
    if (entry?.removing) await discard(kind, document, signal);
    else {
      const files = await open(kind, document, signal);
      try {
        await check(files);
        const unknown = { definition: null, pending: null, used: Date.now() };
        // Who is killed before the end then leaves the document as it was, or as damaged.
        await registry.put(document, { ...unknown, ...entry, kind, removing: true }).catch(unlessFull);
        // While nobody else can have them.
        await Promise.resolve(files.run(EMPTY)).catch(unlessFull);
      } finally {
        files.close();
      }
      await discard(kind, document, AbortSignal.timeout(PATIENCE)).catch(async (error: unknown) => {
        // Somebody may have the files again: then they are another document, which is not to be removed.
        await registry.remove(document);
        throw error;
      });
    }
    await registry.remove(document).catch(unlessFull);
  } finally {
    registry.close();
  }
}

function open(kind: LastingKind, document: string, signal: AbortSignal): Promise<Files> {
  return kind === "opfs"
    ? DocumentFiles.open(document, { signal, held: () => undefined })
    : IndexedDbFiles.open(document, () => undefined);
}

function refuseUnsent(document: string, unsent: Unsent): void {
  const why =
    unsent === "history"
      ? "no server has it"
      : "unknown" in unsent
        ? `it cannot be told what no server has of it: ${unsent.unknown.message}`
        : unsent.mutations > 0
          ? `no server has ${unsent.mutations} of its mutations`
          : undefined;
  if (why) throw new Failure("pending", `document ${document} is not removed: ${why}`);
}
