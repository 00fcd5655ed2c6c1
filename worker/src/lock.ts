/** A Web Lock, held until it is released or this worker ends. */
export type HeldLock = { readonly name: string; release(): void };

/** Waits for a Web Lock and holds it; rejects when the signal is aborted before. */
export function holdLock(name: string, signal?: AbortSignal): Promise<HeldLock> {
  return new Promise((held, failed) => {
    const hold = () => new Promise<void>((release) => held({ name, release }));
    navigator.locks.request(name, signal ? { signal } : {}, hold).catch(failed);
  });
}

/** The name of the Web Lock that is held by who has a document. */
export const documentLock = (document: string): string => `offprint|document|${document}`;

/** Calls back when whoever holds a Web Lock has let it go, by dying or otherwise. */
export function whenFree(name: string, signal: AbortSignal, callback: () => void): void {
  // Shared, so that any number can wait for the same death.
  navigator.locks
    .request(name, { mode: "shared", signal }, () => callback())
    .catch((error: unknown) => {
      if (!signal.aborted) reportError(error);
    });
}

/** A name that nobody else holds. */
export function uniqueLock(kind: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `offprint|${kind}|${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
