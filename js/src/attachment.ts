import type {
  Definition,
  Problem,
  Reply,
  Request,
  Select as RpcSelect,
  Status,
} from "../../worker/src/rpc.generated.ts";
import type { Hello, TabMessage } from "../../worker/src/rpc.ts";
import { RPC } from "../../worker/src/rpc-version.ts";
import { DiskLender } from "./disk-lender.ts";
import { OffprintError } from "./error.ts";
import { type DocumentMessage, type HubDeath, HubLink } from "./hub-link.ts";
import { TabLock } from "./lock.ts";
import { awaitsVerdict, endOfOpening } from "./opening.ts";
import { isVisible, watchPage } from "./page-life.ts";
import { Persistence } from "./persistence.ts";
import { Requests } from "./requests.ts";
import type { AnyRow } from "./sql.ts";
import { attempt, Subscriptions } from "./subscriptions.ts";
import { checkArgs } from "./value.ts";
import type { WorkerFactory } from "./workers.ts";
import { type Write, WriteStages } from "./write.ts";

/** How long closing waits for what was written to reach the device, and for the hub's goodbye. */
const GOODBYE = 2_000;
/** After so many hubs in a row that died an opening is given up. */
const DEATHS = 5;

export type AttachmentSettings = {
  definition: Definition;
  document: string;
  server: string | null;
  auth: (() => string | Promise<string>) | undefined;
  workers: WorkerFactory;
  wasmUrl: string | null;
  memory: boolean;
  persist: boolean;
  takeServers: boolean;
};

const NOT_YET: Status = Object.freeze({
  ready: false,
  lsn: 0,
  local: false,
  pending: 0,
  progress: null,
  download: null,
  connection: "none",
  connectionProblem: null,
  storage: Object.freeze({ kind: "none", durable: false, reason: null, persisted: null, shortage: null }),
  rejections: [],
});

function randomTabId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

class Deferred {
  isSettled = false;
  resolve: () => void = () => undefined;
  reject: (error: OffprintError) => void = () => undefined;
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = () => this.#settle(resolve);
    this.reject = (error) => this.#settle(() => reject(error));
  });

  #settle(settle: () => void): void {
    this.isSettled = true;
    settle();
  }

  constructor() {
    this.promise.catch(() => undefined);
  }
}

const within = (limit: number, promise: Promise<unknown>) =>
  Promise.race([promise, new Promise((resolve) => setTimeout(resolve, limit))]);

/** One tab's attachment to a document's hub: what it asked, what it listens to, and the disk it lends. */
export class Attachment {
  readonly #settings: AttachmentSettings;
  readonly #tab = randomTabId();
  readonly #lock = new TabLock(this.#tab);
  readonly #link: HubLink;
  readonly #lender: DiskLender;
  readonly #requests: Requests;
  readonly #persistence: Persistence;
  readonly #subscriptions = new Subscriptions();
  readonly #listeners = new Set<(status: Status) => void>();
  readonly #life = new AbortController();
  readonly #opened = new Deferred();
  #status = NOT_YET;
  #awake = true;
  /** How often the core has trapped while the document was being opened. */
  #traps = 0;
  #takesServers = false;
  #closed: OffprintError | undefined;
  #closing: Promise<void> | undefined;
  #farewell: (() => void) | undefined;

  constructor(settings: AttachmentSettings) {
    this.#settings = settings;
    const name = `offprint|${settings.document}|p${RPC}`;
    this.#link = new HubLink(() => settings.workers.hub(name), {
      hello: () => this.#hello(),
      retell: () => this.#retell(),
      take: (message) => this.#take(message),
      locks: () => this.#lock.manager,
      renew: () => this.#lock.renew(),
      gone: (death) => this.#hubGone(death),
      failed: (error) => this.#fail(error),
    });
    const post = (message: TabMessage, transfer?: Transferable[]) => this.#link.post(message, transfer);
    this.#lender = new DiskLender(settings.workers.disk, post);
    this.#requests = new Requests(post);
    this.#persistence = new Persistence(settings.persist, (persisted) => post({ persisted }));
  }

  /** Attaches; the first hub is called once this tab's own lock is held, which is how a hub sees it die. */
  async start(): Promise<void> {
    await this.#lock.hold();
    if (this.#closed) return;
    watchPage(
      {
        sleep: () => this.#sleep(),
        wake: (thawed) => this.#wake(thawed),
        visible: (visible) => {
          this.#link.post({ visible });
          if (visible) this.#nudge();
        },
        online: () => this.#nudge(),
      },
      this.#life.signal,
    );
    this.#link.connect();
  }

  /** Resolves when the document was read from the device; rejects when it cannot be. */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  get status(): Status {
    return this.#status;
  }

  /** Why this attachment has ended, if it has. */
  get closed(): OffprintError | undefined {
    return this.#closed;
  }

  onStatus(listener: (status: Status) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Runs a mutator; never throws, so that every failure is seen in the same place. */
  mutate(name: string, args: unknown): Write {
    try {
      this.#checkOpen();
      return this.#requests.mutate(name, checkArgs(name, args));
    } catch (error) {
      return WriteStages.failed(error as OffprintError);
    }
  }

  /** Makes a rejected mutation once more. */
  retry(seq: number): Write {
    try {
      this.#checkOpen();
      return this.#requests.retry(seq);
    } catch (error) {
      return WriteStages.failed(error as OffprintError);
    }
  }

  async ask(request: Request): Promise<Reply> {
    this.#checkOpen();
    return this.#requests.ask(request);
  }

  subscribe(
    select: RpcSelect,
    deliver: (rows: readonly AnyRow[]) => void,
    fail: (error: OffprintError) => void,
  ): () => void {
    this.#checkOpen();
    const subscription = this.#subscriptions.add(select, deliver, fail);
    this.#subscribe(subscription, select);
    return () => {
      if (!this.#subscriptions.remove(subscription) || this.#closed) return;
      this.#requests.ask({ unsubscribe: { subscription } }).catch(() => undefined);
    };
  }

  /** Ends it: what was written reaches the device first, what is still open then settles with `closed`. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    if (this.#status.ready) {
      await within(GOODBYE, this.#requests.flushed());
      const gone = new Promise<void>((resolve) => {
        this.#farewell = resolve;
      });
      this.#link.post("bye");
      await within(GOODBYE, gone);
    }
    this.abandon(new OffprintError("closed", "the document was closed"));
  }

  /** Ends it at once, for this reason. */
  abandon(error: OffprintError): void {
    if (this.#closed) return;
    this.#link.post("bye");
    this.#link.flush();
    this.#end(error, undefined);
  }

  /** No hub will serve this tab any more. */
  #fail(error: OffprintError): void {
    if (!this.#closed) this.#end(error, error);
  }

  #end(error: OffprintError, tell: OffprintError | undefined): void {
    this.#closed = error;
    this.#life.abort();
    this.#lender.stop();
    this.#link.close();
    this.#lock.release();
    this.#requests.close(error);
    this.#subscriptions.close(tell);
    this.#setStatus({ ...this.#status, ready: false, storage: this.#noStorage(error) });
    this.#listeners.clear();
  }

  #checkOpen(): void {
    if (this.#closed) throw this.#closed;
    if (this.#closing) throw new OffprintError("closed", "the document is being closed");
  }

  #hello(): Hello {
    const { definition, document, server, auth, wasmUrl, memory } = this.#settings;
    return {
      rpc: [RPC, RPC],
      tab: this.#tab,
      lock: this.#lock.name,
      document,
      definition,
      server,
      auth: auth !== undefined,
      visible: isVisible(),
      awake: this.#awake,
      memory,
      wasmUrl,
    };
  }

  /** Tells a hub that knows nothing of this tab all that is still open. */
  #retell(): void {
    this.#persistence.tell();
    for (const request of this.#requests.unanswered()) this.#link.post(request);
    for (const { subscription, select } of this.#subscriptions.all()) this.#subscribe(subscription, select);
  }

  #subscribe(subscription: number, select: RpcSelect): void {
    this.#requests
      .ask({ subscribe: { subscription, select } })
      .catch((error: OffprintError) => this.#subscriptions.fail(subscription, error));
  }

  #take(message: DocumentMessage): void {
    if (message === "gone") this.#farewell?.();
    else if (message === "endDisk") this.#lender.stop();
    else if ("refused" in message) this.#refused(message.refused);
    else if ("lend" in message) this.#lender.lend(message.lend.loan);
    else if ("askToken" in message) this.#giveToken(message.askToken.ask);
    else if ("status" in message) this.#setStatus(message.status);
    else {
      if ("durable" in message) this.#persistence.kept();
      this.#requests.take(message) || this.#subscriptions.take(message);
    }
  }

  #refused(why: Problem): void {
    if (why.code !== "not_loaded" || !this.#opened.isSettled) {
      this.#fail(OffprintError.from(why));
      return;
    }
    // Its module did load once: a deploy, or no network, and another hub will have it.
    this.#lender.stop();
    this.#link.callLater();
    this.#tellNoHub(why);
  }

  /** Until there is a hub again, nothing is written. */
  #tellNoHub(why: Problem): void {
    this.#setStatus({ ...this.#status, storage: this.#noStorage(why) });
  }

  #noStorage({ code, message }: Problem): Status["storage"] {
    return { ...this.#status.storage, kind: "none", durable: false, reason: { code, message } };
  }

  async #giveToken(ask: number): Promise<void> {
    try {
      const token = String((await this.#settings.auth?.()) ?? "");
      this.#link.post({ token: { ask, token } });
    } catch (error) {
      const message = `auth() failed: ${error instanceof Error ? error.message : String(error)}`;
      this.#link.post({ noToken: { ask, problem: { code: "unauthorized", message } } });
    }
  }

  /** Asked while online, too: a connection may be one that nothing comes through any more. */
  #nudge(): void {
    if (this.#settings.server !== null) this.#requests.ask("reconnect").catch(() => undefined);
  }

  #sleep(): void {
    this.#awake = false;
    this.#lender.stop();
    this.#link.post({ awake: false });
    this.#link.flush();
  }

  #wake(thawed: boolean): void {
    const slept = !this.#awake;
    this.#awake = true;
    if (thawed) this.#link.connect();
    else if (slept) this.#link.post({ awake: true });
  }

  #hubGone({ inRow, why }: HubDeath): void {
    this.#lender.stop();
    if (why && !this.#opened.isSettled) this.#traps += 1;
    // What takes long to trap is not young.
    const deaths = Math.max(inRow, this.#traps);
    const message = `Offprint's worker has died ${deaths} times in a row: ${why?.message ?? "it did not say of what"}`;
    if (!this.#opened.isSettled) {
      if (deaths >= DEATHS) this.#fail(new OffprintError("internal", message));
    } else if (inRow > 1) {
      this.#tellNoHub({ code: "internal", message });
    }
  }

  #settleOpened(status: Status): void {
    const { server, takeServers } = this.#settings;
    if (server !== null && awaitsVerdict(status)) return;
    const problem = status.connectionProblem;
    if (server === null || !status.local || problem?.code !== "diverged") this.#opened.resolve();
    else if (!takeServers) this.#opened.reject(OffprintError.from(problem));
    else if (!this.#takesServers) {
      this.#takesServers = true;
      this.#requests.ask("takeServers").catch(() => undefined);
    }
  }

  #setStatus(status: Status): void {
    this.#status = status;
    const problem = endOfOpening(status);
    if (status.ready) this.#settleOpened(status);
    else if (problem) this.#opened.reject(OffprintError.from(problem));
    for (const listener of [...this.#listeners]) attempt(() => listener(status));
  }
}
