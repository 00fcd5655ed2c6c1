import { now } from "./clock.ts";

/** The longest that setTimeout counts. */
const LONGEST = 2 ** 31 - 1;

/** One time to be woken at: a new one replaces it, asking again for the same one changes nothing. */
export class Alarm {
  readonly #ring: () => void;
  #at: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Posts to itself, behind whatever is queued already; a timer would be held back to some milliseconds. */
  readonly #soon = new MessageChannel();
  #posted = false;
  /** The time that the message is for. */
  #due: number | undefined;

  constructor(ring: () => void) {
    this.#ring = ring;
    this.#soon.port1.onmessage = () => {
      this.#posted = false;
      if (this.#at !== undefined && this.#at === this.#due) this.#wake();
    };
  }

  set(at: number): void {
    if (at === this.#at) return;
    this.clear();
    this.#at = at;
    const wait = at - now();
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#waited(), Math.min(wait, LONGEST));
      return;
    }
    this.#due = at;
    if (this.#posted) return;
    this.#posted = true;
    this.#soon.port2.postMessage(null);
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#at = undefined;
  }

  end(): void {
    this.clear();
    this.#soon.port1.close();
  }

  #waited(): void {
    const at = this.#at;
    this.#at = undefined;
    // Timers may be early by a fraction, or were cut to the longest.
    if (at === undefined) return;
    if (at > now()) this.set(at);
    else this.#wake();
  }

  #wake(): void {
    this.#at = undefined;
    this.#ring();
  }
}
