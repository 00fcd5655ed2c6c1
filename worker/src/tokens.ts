import { problem } from "./problem.ts";
import type { Problem } from "./rpc.generated.ts";
import type { TabPort } from "./tab-port.ts";

/** How long an app's `auth` may take. */
const PATIENCE = 20_000;

type Ask = {
  give: (token: string) => void;
  refuse: (why: Problem) => void;
  timer: ReturnType<typeof setTimeout>;
};

/** Tokens for the server, asked of the tabs: only their app can make one. */
export class Tokens {
  #last = 0;
  readonly #open = new Map<number, Ask>();

  /** The token of this tab's app; empty when no tab has one to give. */
  ask(tab: TabPort | undefined): Promise<string> {
    if (!tab) return Promise.resolve("");
    const ask = ++this.#last;
    return new Promise((give, refuse) => {
      const timer = setTimeout(
        () => this.refuse(ask, problem("unauthorized", "the tab's auth() gave no token")),
        PATIENCE,
      );
      this.#open.set(ask, { give, refuse, timer });
      tab.post({ askToken: { ask } });
    });
  }

  give(ask: number, token: string): void {
    this.#take(ask)?.give(token);
  }

  refuse(ask: number, why: Problem): void {
    this.#take(ask)?.refuse(why);
  }

  #take(ask: number): Ask | undefined {
    const open = this.#open.get(ask);
    clearTimeout(open?.timer);
    this.#open.delete(ask);
    return open;
  }
}
