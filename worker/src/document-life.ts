import { Alarm } from "./alarm.ts";
import { now } from "./clock.ts";
import type { Core, CoreEffect, CoreInput } from "./core.ts";
import { DiskLadder } from "./disk-ladder.ts";
import { Download } from "./download.ts";
import { documentLock, type HeldLock, holdLock } from "./lock.ts";
import { problem } from "./problem.ts";
import type { Hello, TabMessage, ToDisk } from "./rpc.ts";
import { Socket } from "./socket.ts";
import { type TabPort, visibleFirst } from "./tab-port.ts";
import { Tokens } from "./tokens.ts";

/** How long another hub may hold the document before it is told. */
const PATIENCE = 5_000;

export type DocumentLifeHandlers = {
  tabs: () => TabPort[];
  tab: (id: string) => TabPort | undefined;
  /** Nothing is on its way to the device. */
  idle: () => void;
  /** The core threw. */
  trapped: (error: unknown) => void;
};

/** One document from its first tab to its last: the core, and the disk, socket and clock that it asks for. */
export class DocumentLife {
  /** What the first tab said, which the others have to agree with. */
  readonly hello: Hello;
  readonly #handlers: DocumentLifeHandlers;
  readonly #life = new AbortController();
  readonly #alarm = new Alarm(() => this.#put("wake"));
  readonly #tokens = new Tokens(() => this.#handlers.tabs());
  #core: Core | undefined;
  #disk: DiskLadder | undefined;
  #socket: Socket | undefined;
  #download: Download | undefined;
  #documentLock: HeldLock | undefined;
  /** What the core has not taken yet. */
  #inputs: CoreInput[] = [];
  #running = false;

  constructor(hello: Hello, hubLock: Promise<HeldLock>, handlers: DocumentLifeHandlers) {
    this.hello = hello;
    this.#handlers = handlers;
    this.#own(hubLock);
  }

  /** Waits until no other hub has the document, and only then wants a disk. */
  async #own(hubLock: Promise<HeldLock>): Promise<void> {
    const { document, definition } = this.hello;
    const { signal } = this.#life;
    const why = "another worker, perhaps of another version of this site, has the document; still trying";
    const timer = setTimeout(() => this.#put({ diskLost: { problem: problem("blocked", why) } }), PATIENCE);
    try {
      const { name } = await hubLock;
      this.#documentLock = await holdLock(documentLock(document), signal);
      if (signal.aborted) {
        this.#documentLock.release();
        return;
      }
      this.#disk = new DiskLadder(document, definition.name, name, {
        input: (input) => this.#put(input),
        lenders: () =>
          this.#handlers
            .tabs()
            .filter((tab) => tab.awake)
            .sort(visibleFirst),
        memory: () => this.#handlers.tabs().some((tab) => tab.hello.memory),
      });
      this.#disk.want();
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Makes the replica; throws a `Problem` when the definition is bad. */
  start(core: Core): void {
    if (this.#life.signal.aborted) return;
    const { document, definition, server } = this.hello;
    const entropy = crypto.getRandomValues(new Uint8Array(32));
    core.start({ document, definition, server: server !== null, entropy });
    this.#core = core;
    this.run();
  }

  /** Whether nothing is on its way to the device. */
  get idle(): boolean {
    return this.#disk?.idle ?? true;
  }

  /** Whether the site's data was cleared meanwhile. */
  get isCleared(): boolean {
    return this.#disk?.isCleared ?? false;
  }

  stop(): void {
    this.#life.abort();
    this.#alarm.end();
    this.#socket?.close();
    this.#download?.close();
    this.#disk?.end();
    this.#documentLock?.release();
    this.#core?.stop();
    this.#core = undefined;
  }

  tabHere(tab: TabPort): void {
    this.#inputs.push({ tabHere: { tab: tab.id } });
    this.#disk?.want();
  }

  tabGone(tab: TabPort): void {
    this.withoutTab(tab);
    this.tabLeaves(tab);
  }

  /** The tab asks nothing any more, and what it had asked for is written at once if it was the last. */
  tabLeaves(tab: TabPort): void {
    this.#put({ tabGone: { tab: tab.id } });
  }

  /** The disk that the tab lent, if it did, is another's from now on. */
  withoutTab(tab: TabPort): void {
    this.#disk?.link?.withoutTab(tab);
  }

  /** Takes a tab's message; `run` carries on from there. */
  take(tab: TabPort, message: Exclude<TabMessage, "bye">): void {
    if ("request" in message) {
      const { no, request } = message;
      this.#inputs.push({ request: { tab: tab.id, no, request } });
    } else if ("visible" in message) {
      tab.visible = message.visible;
      if (tab.visible) {
        this.#disk?.check();
        this.#disk?.link?.trust(tab);
      }
    } else if ("persisted" in message) this.#inputs.push({ persisted: { persisted: message.persisted } });
    else if ("awake" in message) this.#awake(tab, message.awake);
    else if ("lent" in message) this.#lent(tab, message.lent);
    else if ("notLent" in message)
      this.#disk?.link?.notLent(tab, message.notLent.loan, message.notLent.problem);
    else if ("token" in message) this.#tokens.give(message.token.ask, message.token.token);
    else if ("noToken" in message) this.#tokens.refuse(message.noToken.ask, message.noToken.problem);
  }

  /** Hands everything that has come to the core, and carries out what it wants. */
  run(): void {
    if (!this.#core || this.#running) return;
    this.#running = true;
    try {
      while (this.#inputs.length > 0) {
        const inputs = this.#inputs;
        this.#inputs = [];
        const effects = this.#core.handle(now(), inputs);
        // The tabs first: they wait for less than the disk or the server does.
        for (const effect of effects) {
          if (typeof effect === "object" && "tab" in effect) {
            const { tab, event } = effect.tab;
            if ("status" in event && event.status.ready) this.#disk?.note(event.status.pending);
            this.#handlers.tab(tab)?.tell(event);
          }
        }
        for (const tab of this.#handlers.tabs()) tab.flush();
        for (const effect of effects) this.#carryOut(effect);
      }
    } catch (error) {
      this.#core = undefined;
      this.#handlers.trapped(error);
      return;
    }
    this.#running = false;
    if (this.idle) this.#handlers.idle();
  }

  #put(input: CoreInput): void {
    if (this.#life.signal.aborted) return;
    this.#inputs.push(input);
    this.run();
  }

  #carryOut(effect: CoreEffect): void {
    if (effect === "connect") this.#connect();
    else if (effect === "disconnect") this.#disconnect();
    else if (effect === "stopFetch") this.#download?.close();
    else if ("disk" in effect) this.#disk?.give(effect.disk);
    else if ("send" in effect) this.#socket?.send(effect.send);
    else if ("fetch" in effect) this.#fetch(effect.fetch);
    else if ("wake" in effect) this.#alarm.set(effect.wake.at);
  }

  #connect(): void {
    this.#socket?.close();
    this.#socket = new Socket(`${this.hello.server}/sync`, this.#tokens.ask(), {
      opened: (token) => this.#put({ socketOpened: { token } }),
      frame: (bytes) => this.#put({ socketFrame: bytes }),
      closed: (why) => {
        this.#socket = undefined;
        this.#put({ socketClosed: { problem: why } });
      },
    });
  }

  #fetch({ journal, lsn, size }: { journal: string; lsn: number; size: number }): void {
    const { server, document } = this.hello;
    const url = `${server?.replace(/^ws/, "http")}/documents/${document}/snapshots/${journal}/${lsn}`;
    this.#download?.close();
    this.#download = new Download(url, size, () => this.#tokens.ask(), {
      bytes: (bytes) => this.#put({ snapshotBytes: bytes }),
      failed: () => this.#put("snapshotFailed"),
    });
  }

  #disconnect(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  #awake(tab: TabPort, awake: boolean): void {
    tab.awake = awake;
    if (awake) {
      this.#disk?.link?.trust(tab);
      this.#disk?.want();
    } else this.#disk?.link?.withoutTab(tab);
  }

  #lent(tab: TabPort, { loan, port }: { loan: number; port: MessagePort }): void {
    const link = this.#disk?.link;
    if (link) link.lent(tab, loan, port);
    else port.postMessage("close" satisfies ToDisk);
  }
}
