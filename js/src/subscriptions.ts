import type { Select as RpcSelect, TabEvent } from "../../worker/src/rpc.generated.ts";
import { OffprintError } from "./error.ts";
import { RowDecoder } from "./rows.ts";
import type { AnyRow } from "./sql.ts";

type Subscription = {
  select: RpcSelect;
  decoder: RowDecoder;
  deliver: (rows: readonly AnyRow[]) => void;
  fail: (error: OffprintError) => void;
};

/** The live queries of one tab, by the tab's own numbers. */
export class Subscriptions {
  #last = 0;
  readonly #open = new Map<number, Subscription>();

  add(select: RpcSelect, deliver: Subscription["deliver"], fail: Subscription["fail"]): number {
    this.#open.set(++this.#last, { select, decoder: new RowDecoder(), deliver, fail });
    return this.#last;
  }

  /** Ends one; false if it had ended. */
  remove(subscription: number): boolean {
    return this.#open.delete(subscription);
  }

  /** What a new hub has to be told. */
  all(): { subscription: number; select: RpcSelect }[] {
    return [...this.#open].map(([subscription, { select }]) => ({ subscription, select }));
  }

  /** Takes a delivery; false for an event of another kind. A callback's own error is reported, not thrown. */
  take(event: TabEvent): boolean {
    if ("rows" in event) {
      const open = this.#open.get(event.rows.subscription);
      if (open) attempt(() => open.deliver(open.decoder.decode(event.rows.rows)));
    } else if ("subscriptionFailed" in event) {
      const { subscription, problem } = event.subscriptionFailed;
      this.fail(subscription, OffprintError.from(problem));
    } else return false;
    return true;
  }

  fail(subscription: number, error: OffprintError): void {
    const open = this.#open.get(subscription);
    if (open) attempt(() => open.fail(error));
  }

  /** Ends all; they are told if there is an error to tell. */
  close(error: OffprintError | undefined): void {
    const open = [...this.#open.values()];
    this.#open.clear();
    if (error) for (const { fail } of open) attempt(() => fail(error));
  }
}

/** Runs an app's callback: what it throws reaches the page's error handling and nobody else. */
export function attempt(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    reportError(error);
  }
}
