import type { Problem } from "../../worker/src/rpc.generated.ts";
import type { Hello, HubMessage, TabMessage } from "../../worker/src/rpc.ts";
import { OffprintError } from "./error.ts";
import { whenFree } from "./lock.ts";
import { HOW_TO_LOAD } from "./workers.ts";

/**
 * How long a hub may take to say that it is here before another connection is tried: at first little, as the port may
 * have landed in a worker that was ending; then more, as its script may be loading slowly.
 */
const PATIENCE = { first: 250, longest: 2_000 };
/** How long the first hub may take altogether: its script is then not where it was looked for. */
const LOADING = 10_000;
/** A hub that lives shorter than this died of something that may come again. */
const SHORT_LIFE = 5_000;
const LONGEST_PAUSE = 10_000;
/** How long a hub that trapped takes to end: in Firefox, who calls it before has a dead one for ever. */
const ENDING = 500;

/** What a hub says of the document, and not of itself. */
export type DocumentMessage = Exclude<HubMessage, { here: unknown } | { trapped: unknown }>;

export type HubDeath = {
  /** How many hubs in a row have died young, this one included. */
  inRow: number;
  /** What the core threw, if it was that. */
  why: Problem | undefined;
};

export type HubLinkHandlers = {
  /** What to introduce this tab with. */
  hello: () => Hello;
  /** Posts what a hub that knows nothing of this tab has to be told. */
  retell: () => void;
  take: (message: DocumentMessage) => void;
  /** Where the hub's lock is looked for. */
  locks: () => LockManager;
  /** A hub died as soon as it was there: perhaps it does not see this tab's lock, nor this tab its. */
  renew: () => Promise<void>;
  /** The hub is gone; another is being called. */
  gone: (death: HubDeath) => void;
  /** No hub can be had. */
  failed: (error: OffprintError) => void;
};

/** This tab's connection with the document's hub: made again whenever the hub dies. */
export class HubLink {
  readonly #start: () => SharedWorker;
  readonly #handlers: HubLinkHandlers;
  #port: MessagePort | undefined;
  #outbox: TabMessage[] = [];
  #transfer: Transferable[] = [];
  #flushing = false;
  /** Ends what belongs to one connection. */
  #connection = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #began = performance.now();
  #everHere = false;
  #hereSince: number | undefined;
  #shortLives = 0;
  #trapped: Problem | undefined;
  #patience = PATIENCE.first;
  #closed = false;

  constructor(start: () => SharedWorker, handlers: HubLinkHandlers) {
    this.#start = start;
    this.#handlers = handlers;
  }

  /** Calls a hub, and tells it everything again. */
  connect(): void {
    if (this.#closed) return;
    this.#disconnect();
    const connection = new AbortController();
    this.#connection = connection;
    let worker: SharedWorker;
    try {
      worker = this.#start();
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#hereSince = undefined;
    const failed = (event: Event) => {
      // Firefox tells the errors of a running hub, too; whether that lives is told by its lock.
      const isRunning = this.#hereSince !== undefined || (this.#everHere && "message" in event);
      if (!isRunning) this.#notLoaded();
    };
    worker.addEventListener("error", failed, { signal: connection.signal });
    const { port } = worker;
    port.onmessage = ({ data }: MessageEvent<HubMessage[]>) => {
      for (const message of data) {
        if (connection.signal.aborted) return;
        if (typeof message === "object" && "here" in message) this.#here(message.here.lock, connection);
        else if (typeof message === "object" && "trapped" in message) this.#trapped = message.trapped;
        else this.#handlers.take(message);
      }
    };
    this.#port = port;
    this.#outbox = [{ hello: this.#handlers.hello() }];
    this.#transfer = [];
    this.#handlers.retell();
    this.flush();
    this.#timer = setTimeout(() => this.#noAnswer(), this.#patience);
  }

  /** Sends a message, together with whatever else this turn of the event loop has to say. */
  post(message: TabMessage, transfer: Transferable[] = []): void {
    if (!this.#port) return;
    this.#outbox.push(message);
    this.#transfer.push(...transfer);
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => this.flush());
  }

  /** Sends now: a page that is about to be frozen has no later. */
  flush(): void {
    this.#flushing = false;
    if (this.#outbox.length === 0) return;
    const [outbox, transfer] = [this.#outbox, this.#transfer];
    this.#outbox = [];
    this.#transfer = [];
    this.#port?.postMessage(outbox, transfer);
  }

  close(): void {
    this.#closed = true;
    this.#disconnect();
  }

  /** Leaves a hub that cannot serve, and calls one again after a while. */
  callLater(): void {
    if (this.#closed) return;
    this.#disconnect();
    this.#timer = setTimeout(() => this.connect(), PATIENCE.longest);
  }

  #disconnect(): void {
    clearTimeout(this.#timer);
    this.#connection.abort();
    if (this.#port) {
      this.#port.onmessage = null;
      this.#port.close();
    }
    this.#port = undefined;
  }

  #here(lock: string, connection: AbortController): void {
    clearTimeout(this.#timer);
    this.#everHere = true;
    this.#patience = PATIENCE.first;
    this.#hereSince = performance.now();
    whenFree(this.#handlers.locks(), lock, connection.signal, () => this.#died());
  }

  #died(): void {
    const lived = performance.now() - (this.#hereSince ?? 0);
    this.#shortLives = lived < SHORT_LIFE ? this.#shortLives + 1 : 0;
    const why = this.#trapped;
    this.#trapped = undefined;
    this.#disconnect();
    this.#handlers.gone({ inRow: this.#shortLives, why });
    if (this.#closed) return;
    const wait = this.#shortLives < 2 ? 0 : Math.min(50 * 2 ** this.#shortLives, LONGEST_PAUSE);
    const pause = why ? Math.max(wait, ENDING) : wait;
    const again = () => {
      if (pause === 0) this.connect();
      else this.#timer = setTimeout(() => this.connect(), pause);
    };
    if (this.#shortLives === 0) again();
    else this.#handlers.renew().then(again, again);
  }

  /** The port may have landed in a worker that is ending, which says nothing. */
  #noAnswer(): void {
    if (!this.#everHere && performance.now() - this.#began >= LOADING) this.#notLoaded();
    else {
      this.#patience = Math.min(this.#patience * 2, PATIENCE.longest);
      this.connect();
    }
  }

  #notLoaded(): void {
    // A hub that did load once may be out of reach for a while: a deploy, or no network.
    if (this.#everHere) this.callLater();
    else this.#fail("it is not where it was looked for, or it may not run here");
  }

  #fail(why: string): void {
    this.close();
    this.#handlers.failed(
      new OffprintError("not_loaded", `Offprint's worker did not start: ${why}; ${HOW_TO_LOAD}`),
    );
  }
}
