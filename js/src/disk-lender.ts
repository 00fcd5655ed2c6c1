import type { TabMessage } from "../../worker/src/rpc.ts";
import { HOW_TO_LOAD } from "./workers.ts";

/** Starts the disk that the hub cannot start itself, and hands its port over: no byte passes through this page. */
export class DiskLender {
  readonly #start: () => Worker;
  readonly #post: (message: TabMessage, transfer?: Transferable[]) => void;
  #worker: Worker | undefined;

  constructor(start: () => Worker, post: (message: TabMessage, transfer?: Transferable[]) => void) {
    this.#start = start;
    this.#post = post;
  }

  lend(loan: number): void {
    this.stop();
    const fail = (why: string) => {
      this.stop();
      const message = `Offprint's disk worker did not start: ${why}; ${HOW_TO_LOAD}`;
      this.#post({ notLent: { loan, problem: { code: "not_loaded", message } } });
    };
    try {
      this.#worker = this.#start();
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#worker.onerror = (event) => fail(event.message || "its script was not found");
    const { port1, port2 } = new MessageChannel();
    this.#worker.postMessage({ port: port1 }, [port1]);
    this.#post({ lent: { loan, port: port2 } }, [port2]);
  }

  /** Ends the disk; its files are free within milliseconds. */
  stop(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}
