import { messageOf } from "./problem.ts";
import type { Problem } from "./rpc.generated.ts";

/** The first and the longest wait before another attempt, in milliseconds. */
const BACK_OFF: [number, number] = [250, 4_000];
/** So many attempts in a row that bring nothing end it. */
const ATTEMPTS = 4;
/** An attempt that brings nothing for so long is given up, in milliseconds. */
const SILENCE = 20_000;

export type DownloadHandlers = {
  /** What follows what came before. */
  bytes: (bytes: Uint8Array) => void;
  /** There will be no more. */
  failed: (why: string) => void;
};

/** Another attempt would not help. */
class Hopeless extends Error {}

/** A body of known length that never changes: fetched, and gone on with wherever it was cut off. */
export class Download {
  readonly #url: string;
  readonly #size: number;
  readonly #token: () => Promise<string>;
  readonly #handlers: DownloadHandlers;
  readonly #life = new AbortController();
  #done = 0;

  constructor(url: string, size: number, token: () => Promise<string>, handlers: DownloadHandlers) {
    this.#url = url;
    this.#size = size;
    this.#token = token;
    this.#handlers = handlers;
    // Later, so that whoever began it has it when it fails at once.
    queueMicrotask(() => void this.#run());
  }

  /** Ends it; nothing is told of it afterwards. */
  close(): void {
    this.#life.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#life;
    let fruitless = 0;
    while (!signal.aborted) {
      const before = this.#done;
      try {
        await this.#attempt();
        return;
      } catch (error) {
        if (signal.aborted) return;
        fruitless = this.#done > before ? 0 : fruitless + 1;
        if (error instanceof Hopeless || fruitless === ATTEMPTS) {
          this.#handlers.failed(messageOf(error));
          return;
        }
      }
      await pause(backOff(fruitless), signal);
    }
  }

  /** Brings the rest, or throws. */
  async #attempt(): Promise<void> {
    const token = await this.#token().catch((why: Problem) => {
      throw new Hopeless(why.message);
    });
    const attempt = new AbortController();
    const giveUp = () => attempt.abort();
    this.#life.signal.addEventListener("abort", giveUp);
    let silence = setTimeout(giveUp, SILENCE);
    try {
      const from = this.#done;
      const headers = new Headers();
      if (token !== "") headers.set("authorization", `Bearer ${token}`);
      // A range is one of the bytes as they are, so the browser asks for no encoding with it.
      if (from > 0) headers.set("range", `bytes=${from}-`);
      const cache = from > 0 ? "no-store" : "default";
      const { signal } = attempt;
      const response = await fetch(this.#url, { headers, signal, cache, credentials: "omit" });
      if (!response.ok || response.body === null) throw refused(response.status);
      // A server that does not know ranges sends all of it again.
      let skip = response.status === 206 ? 0 : from;
      const reader = response.body.getReader();
      while (this.#done < this.#size) {
        const { done, value } = await reader.read();
        if (done) throw new Error("the download was cut off");
        clearTimeout(silence);
        silence = setTimeout(giveUp, SILENCE);
        const fresh = value.subarray(Math.min(skip, value.length));
        skip -= value.length - fresh.length;
        if (fresh.length === 0) continue;
        this.#done += fresh.length;
        this.#handlers.bytes(fresh);
        if (this.#life.signal.aborted) return;
      }
      // What is longer than it should be is not read to its end.
      giveUp();
    } finally {
      clearTimeout(silence);
      this.#life.signal.removeEventListener("abort", giveUp);
    }
  }
}

/** Whether it is worth asking again: not where the server has understood, and will say the same. */
function refused(status: number): Error {
  const message = `the server answered with ${status}`;
  const isHopeless = status >= 400 && status < 500 && ![401, 408, 425, 429].includes(status);
  return isHopeless ? new Hopeless(message) : new Error(message);
}

/** Between half and all of it, so that clients of a restarted server do not come back at once. */
function backOff(fruitless: number): number {
  const [first, longest] = BACK_OFF;
  const wait = Math.min(first * 2 ** fruitless, longest);
  return wait * (0.5 + Math.random() / 2);
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
