import type { OffprintError } from "./error.ts";

/** One thing that will happen or fail, with a promise only for who asks; nobody asking is no unhandled rejection. */
class Stage {
  #settled: "no" | "yes" | OffprintError = "no";
  #promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;
  #reject: ((error: OffprintError) => void) | undefined;

  get settled(): boolean {
    return this.#settled !== "no";
  }

  get promise(): Promise<void> {
    if (!this.#promise) {
      const settled = this.#settled;
      if (settled === "yes") this.#promise = Promise.resolve();
      else if (settled !== "no") this.#promise = Promise.reject(settled);
      else {
        this.#promise = new Promise((resolve, reject) => {
          this.#resolve = resolve;
          this.#reject = reject;
        });
      }
      this.#promise.catch(() => undefined);
    }
    return this.#promise;
  }

  reach(): void {
    if (this.#settled !== "no") return;
    this.#settled = "yes";
    this.#resolve?.();
  }

  fail(error: OffprintError): void {
    if (this.#settled !== "no") return;
    this.#settled = error;
    this.#reject?.(error);
  }
}

/** A mutation on its way. Awaiting it awaits `durable`. */
export interface Write extends Promise<void> {
  /** It is visible in every tab; rejects when the mutator fails, which leaves no trace. */
  readonly applied: Promise<void>;
  /** It is on the device and survives the browser's end. */
  readonly durable: Promise<void>;
  /**
   * It is in the server's journal; rejects with `Rejected` when the server refuses it. In a document that never had a
   * server it is confirmed as soon as it is durable.
   */
  readonly confirmed: Promise<void>;
}

/** The three stages of one mutation, moved on by what the hub tells. */
export class WriteStages implements Write {
  readonly [Symbol.toStringTag] = "Write";
  readonly #applied = new Stage();
  readonly #durable = new Stage();
  readonly #confirmed = new Stage();

  get applied(): Promise<void> {
    return this.#applied.promise;
  }

  get durable(): Promise<void> {
    return this.#durable.promise;
  }

  get confirmed(): Promise<void> {
    return this.#confirmed.promise;
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a write is awaiting that it is durable
  then<A = void, B = never>(
    // biome-ignore lint/suspicious/noConfusingVoidType: as Promise has it
    reached?: ((value: void) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.durable.then(reached, failed);
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as Promise has it
  catch<B = never>(failed?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<void | B> {
    return this.durable.catch(failed);
  }

  finally(settled?: (() => void) | null): Promise<void> {
    return this.durable.finally(settled);
  }

  /** A mutation that was over before it began. @internal */
  static failed(error: OffprintError): WriteStages {
    const write = new WriteStages();
    write.fail(error);
    return write;
  }

  /** @internal */
  get isDurable(): boolean {
    return this.#durable.settled;
  }

  /** @internal */
  reach(stage: "applied" | "durable" | "confirmed"): void {
    this.#applied.reach();
    if (stage !== "applied") this.#durable.reach();
    if (stage === "confirmed") this.#confirmed.reach();
  }

  /** Fails the stages that were not reached. @internal */
  fail(error: OffprintError): void {
    this.#applied.fail(error);
    this.#durable.fail(error);
    this.#confirmed.fail(error);
  }

  /** The server refused what was applied and durable here. @internal */
  refuse(error: OffprintError): void {
    this.#applied.reach();
    this.#durable.reach();
    this.#confirmed.fail(error);
  }
}
