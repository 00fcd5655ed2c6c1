/** Holds a Web Lock; resolves, once it is held, with what lets it go. */
export function holdLock(name: string): Promise<() => void> {
  return new Promise((held, failed) => {
    const hold = () => new Promise<void>((release) => held(release));
    navigator.locks.request(name, hold).catch(failed);
  });
}

/** Calls back when whoever holds a Web Lock has let it go, by dying or otherwise. */
export function whenFree(name: string, signal: AbortSignal, callback: () => void): void {
  // Shared, so that any number can wait for the same death.
  navigator.locks
    .request(name, { mode: "shared", signal }, () => callback())
    .catch((error: unknown) => {
      if (!signal.aborted) reportError(error);
    });
}
