import { type Core, loadCore } from "./core.ts";
import { DocumentLife } from "./document-life.ts";
import { type HeldLock, holdLock, uniqueLock, whenFree } from "./lock.ts";
import { messageOf, problem } from "./problem.ts";
import { refusal } from "./refusal.ts";
import type { Problem } from "./rpc.generated.ts";
import type { Hello, HubMessage, TabMessage } from "./rpc.ts";
import { isTabMessage, TabPort } from "./tab-port.ts";

/** How long the hub's last words may take to reach the tabs: Firefox drops what is on its way when a worker ends. */
const LEAVING = 100;

/** The tabs of one document, and the document's life while there are any. */
export class DocumentHub {
  readonly #end: () => void;
  readonly #lock: Promise<HeldLock> = holdLock(uniqueLock("hub"));
  readonly #tabs = new Map<string, TabPort>();
  /** Tabs that said goodbye and wait for the document's end. */
  #leaving: TabPort[] = [];
  #core: Promise<Core> | undefined;
  #life: DocumentLife | undefined;
  /** Whether a tab came whose lock is not seen here. */
  #unseen = false;

  constructor(end: () => void) {
    this.#end = end;
  }

  /** Takes a new port; its first message is the tab's hello. */
  connect(port: MessagePort): void {
    port.onmessage = ({ data }: MessageEvent<TabMessage[]>) => {
      const [first, ...rest] = Array.isArray(data) ? data : [];
      if (typeof first !== "object" || !("hello" in first)) return;
      const tab = this.#attach(port, first.hello);
      if (tab) this.#take(tab, rest);
    };
  }

  #attach(port: MessagePort, hello: Hello): TabPort | undefined {
    const why = refusal(hello, this.#life?.hello);
    if (why && this.#tabs.size > 0) {
      port.postMessage([{ refused: why } satisfies HubMessage]);
      return undefined;
    }
    // Nobody is left of those whose definition it was.
    if (why) this.#stop();
    // The same tab again: its port had gone silent, or it comes back from a cache.
    const before = this.#tabs.get(hello.tab);
    if (before) this.#detach(before);
    const tab = new TabPort(port, hello);
    this.#tabs.set(tab.id, tab);
    port.onmessage = ({ data }: MessageEvent<TabMessage[]>) =>
      this.#take(tab, Array.isArray(data) ? data : []);
    this.#lock.then(({ name }) => tab.post({ here: { lock: name } }));
    whenFree(hello.lock, tab.life.signal, () => this.#gone(tab));
    if (this.#life?.isCleared) this.#seeLock(hello.lock);
    this.#life ??= this.#begin(hello);
    this.#life.tabHere(tab);
    this.#sayGoodbye();
    return tab;
  }

  #begin(hello: Hello): DocumentLife {
    const tabs = () => [...this.#tabs.values()];
    const life = new DocumentLife(hello, this.#lock, {
      tabs,
      tab: (id) => this.#tabs.get(id),
      idle: () => this.#idle(),
      trapped: (error) => this.#die(error),
    });
    this.#start(life, hello).catch((why: unknown) => {
      if (why instanceof Error) this.#die(why);
      else this.#refuseAll(life, why as Problem);
    });
    return life;
  }

  /** Not one byte of a core that trapped can be trusted. Its end frees the lock, and the tabs call another hub. */
  async #die(error: unknown): Promise<void> {
    // The tabs know by then which lock to watch.
    await this.#lock;
    const trapped = problem("internal", messageOf(error));
    for (const tab of this.#tabs.values()) tab.post({ trapped });
    reportError(error);
    setTimeout(() => this.#end(), LEAVING);
  }

  async #start(life: DocumentLife, { wasmUrl }: Hello): Promise<void> {
    this.#core ??= loadCore(wasmUrl);
    let core: Core;
    try {
      core = await this.#core;
    } catch (error) {
      this.#core = undefined;
      const how =
        "offprint.wasm belongs beside hub.js, or at the option wasmUrl, and needs 'wasm-unsafe-eval' in a CSP";
      throw problem("not_loaded", `Offprint's module did not load: ${messageOf(error)}; ${how}`);
    }
    life.start(core);
  }

  #refuseAll(life: DocumentLife, why: Problem): void {
    if (this.#life !== life) return;
    for (const tab of [...this.#tabs.values()]) {
      tab.post({ refused: why });
      this.#detach(tab);
    }
    this.#stopIfDone();
  }

  #take(tab: TabPort, messages: TabMessage[]): void {
    const life = this.#life;
    for (const message of messages) {
      if (!isTabMessage(message) || this.#tabs.get(tab.id) !== tab) continue;
      if (message === "bye") this.#bye(tab);
      else life?.take(tab, message);
    }
    life?.run();
  }

  #bye(tab: TabPort): void {
    this.#detach(tab);
    this.#leaving.push(tab);
    // The last one stays for the goodbye, and its disk writes what is left until then.
    this.#life?.tabLeaves(tab);
    if (this.#tabs.size > 0) this.#sayGoodbye();
    else this.#stopIfDone();
  }

  #gone(tab: TabPort): void {
    if (this.#tabs.get(tab.id) !== tab) return;
    this.#detach(tab);
    this.#life?.tabGone(tab);
    this.#stopIfDone();
  }

  #detach(tab: TabPort): void {
    tab.life.abort();
    tab.port.onmessage = null;
    this.#tabs.delete(tab.id);
  }

  /**
   * Chromium forgets an origin's locks when it clears its data: a newer tab's are not seen here, nor ours there. Once all
   * is written again another hub can serve the old tabs and the new.
   */
  async #seeLock(lock: string): Promise<void> {
    const { held } = await navigator.locks.query();
    if (held?.some(({ name }) => name === lock)) return;
    this.#unseen = true;
    this.#idle();
  }

  #idle(): void {
    if (this.#unseen && this.#life?.isCleared && this.#life.idle) this.#end();
    else this.#stopIfDone();
  }

  /** Without tabs the document ends, once what they had handed over is on the device. */
  #stopIfDone(): void {
    if (this.#tabs.size === 0 && this.#life?.idle) this.#stop();
  }

  #stop(): void {
    this.#life?.stop();
    this.#life = undefined;
    this.#sayGoodbye();
  }

  #sayGoodbye(): void {
    for (const tab of this.#leaving) {
      this.#life?.withoutTab(tab);
      tab.post("gone");
    }
    this.#leaving = [];
  }
}
