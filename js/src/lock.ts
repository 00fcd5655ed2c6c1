/** How long a frame may take to say which locks it sees. */
const PATIENCE = 500;

/** Calls back when whoever holds a Web Lock has let it go, by dying or otherwise. */
export function whenFree(locks: LockManager, name: string, signal: AbortSignal, callback: () => void): void {
  // Shared, so that any number can wait for the same death.
  locks
    .request(name, { mode: "shared", signal }, () => callback())
    .catch((error: unknown) => {
      if (!signal.aborted) reportError(error);
    });
}

function hold(locks: LockManager, name: string): Promise<() => void> {
  return new Promise((held, failed) => {
    locks.request(name, () => new Promise<void>((release) => held(release))).catch(failed);
  });
}

/**
 * The Web Lock by which a hub sees this tab die, under ever new names. Chromium forgets an origin's locks when it clears
 * the origin's data, and from then on the locks of older pages and of newer workers do not meet; those of a frame that
 * was made afterwards do.
 */
export class TabLock {
  readonly #tab: string;
  #renewals = 0;
  #locks: LockManager = navigator.locks;
  #frame: HTMLIFrameElement | undefined;
  #release: (() => void) | undefined;
  #released = false;

  constructor(tab: string) {
    this.#tab = tab;
  }

  get name(): string {
    return `offprint|tab|${this.#tab}|${this.#renewals}`;
  }

  /** Where this tab's lock is, and that of its hub is looked for. */
  get manager(): LockManager {
    return this.#locks;
  }

  async hold(): Promise<void> {
    const release = await hold(this.#locks, this.name);
    if (this.#released) release();
    else this.#release = release;
  }

  /** Takes another lock where newer workers see it, if they do not see this one. */
  async renew(): Promise<void> {
    if (this.#released) return;
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.documentElement.append(frame);
    const locks = frame.contentWindow?.navigator.locks;
    // Firefox may replace the frame's first document, and never answer.
    const silence = new Promise<undefined>((resolve) => setTimeout(resolve, PATIENCE));
    const seen = (await Promise.race([locks?.query(), silence]))?.held?.some(
      ({ name }) => name === this.name,
    );
    if (!locks || seen !== false || this.#released) {
      frame.remove();
      return;
    }
    this.#drop();
    this.#frame = frame;
    this.#locks = locks;
    this.#renewals += 1;
    await this.hold();
  }

  release(): void {
    this.#released = true;
    this.#drop();
  }

  #drop(): void {
    this.#release?.();
    this.#release = undefined;
    this.#frame?.remove();
    this.#frame = undefined;
  }
}
