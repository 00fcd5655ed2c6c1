import { problem } from "./problem.ts";
import type { Problem } from "./rpc.generated.ts";
import { awakeFirst, type TabPort } from "./tab-port.ts";

/** How long an app's `auth` may take. */
const PATIENCE = 20_000;

type Ask = {
  give: (token: string | undefined) => void;
  refuse: (why: Problem) => void;
  /** Ends what watches the tab and the time. */
  end: () => void;
};

/** Tokens for the server, asked of the tabs: only their app can make one. */
export class Tokens {
  readonly #tabs: () => TabPort[];
  #last = 0;
  readonly #open = new Map<number, Ask>();

  constructor(tabs: () => TabPort[]) {
    this.#tabs = tabs;
  }

  /** The token of some tab's app, of another one's if that tab goes first; empty when no tab has one to give. */
  async ask(): Promise<string> {
    const best = () =>
      this.#tabs()
        .filter((tab) => tab.hello.auth)
        .sort(awakeFirst)[0];
    for (let tab = best(); tab; tab = best()) {
      const token = await this.#ask(tab);
      if (token !== undefined) return token;
    }
    return "";
  }

  give(ask: number, token: string): void {
    this.#take(ask)?.give(token);
  }

  refuse(ask: number, why: Problem): void {
    this.#take(ask)?.refuse(why);
  }

  /** The token of this tab's app; nothing when the tab is gone. */
  #ask(tab: TabPort): Promise<string | undefined> {
    const ask = ++this.#last;
    const { signal } = tab.life;
    return new Promise((give, refuse) => {
      const late = problem("unauthorized", "the tab's auth() gave no token");
      const timer = setTimeout(() => this.refuse(ask, late), PATIENCE);
      const gone = () => this.#take(ask)?.give(undefined);
      signal.addEventListener("abort", gone);
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", gone);
      };
      this.#open.set(ask, { give, refuse, end });
      tab.post({ askToken: { ask } });
    });
  }

  #take(ask: number): Ask | undefined {
    const open = this.#open.get(ask);
    open?.end();
    this.#open.delete(ask);
    return open;
  }
}
