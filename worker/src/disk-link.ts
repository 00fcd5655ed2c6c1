import { whenFree } from "./lock.ts";
import { Failure, messageOf, problem } from "./problem.ts";
import type { Problem } from "./rpc.generated.ts";
import type { DiskAnswer, DiskBatch, FromDisk, ToDisk } from "./rpc.ts";
import type { TabPort } from "./tab-port.ts";

/** How long a disk may take from being asked for to saying that it is there. */
const PATIENCE = 5_000;
/** How long after a disk that was lost for a reason the next one is asked for. */
const PAUSE = 250;
/** The first and the longest wait before tabs are asked again that all said that they cannot. */
const BACK_OFF = { first: 250, longest: 30_000 };

export type DiskLinkHandlers = {
  /** The tabs that could lend a disk, best first. */
  lenders: () => TabPort[];
  /** Notes where the document is before it is used; rejects with a `Failure`. */
  mark: (empty: boolean) => Promise<void>;
  ready: (empty: boolean) => void;
  answer: (answer: DiskAnswer) => void;
  /** The disk is gone or not there yet, for this reason if it is more than a hand-over. */
  lost: (why: Problem | null) => void;
  /** The files cannot be opened. */
  failed: (why: Problem) => void;
  /** No disk of this kind can be had here. */
  absent: (why: Problem) => void;
};

type Disk = {
  port: MessagePort;
  /** Ends what watches it. */
  life: AbortController;
  lender: TabPort;
  ready: boolean;
};

/**
 * The hub's end of its disk, which a tab lends. In Firefox a hub could start one itself, but there about one
 * `new Worker` in a hundred never returns from within a SharedWorker, and the hub hangs with it.
 */
export class DiskLink {
  readonly #document: string;
  readonly #hubLock: string;
  readonly #handlers: DiskLinkHandlers;
  /** How often a tab did not answer. */
  readonly #failures = new WeakMap<TabPort, number>();
  /** Tabs that said that they cannot: their network may be back later, or their worker may run the next time. */
  #unable = new WeakSet<TabPort>();
  /** How often in a row nobody could. */
  #fruitless = 0;
  #loans = 0;
  #asked: TabPort | undefined;
  #disk: Disk | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #unanswered = false;
  /** Chromium forgets an origin's locks with its data: those of older workers and of newer ones do not meet. */
  #locksMeet = true;
  #ended = false;

  constructor(document: string, hubLock: string, handlers: DiskLinkHandlers) {
    this.#document = document;
    this.#hubLock = hubLock;
    this.#handlers = handlers;
  }

  /** Whether no disk owes an answer. */
  get idle(): boolean {
    return !this.#unanswered;
  }

  /** Sees to it that there is a disk, or will be. */
  want(): void {
    if (this.#ended || this.#disk || this.#asked) return;
    clearTimeout(this.#timer);
    const tab = this.#lender();
    if (!tab) {
      // Without any it waits: a tab that comes or wakes calls this again.
      if (this.#handlers.lenders().length > 0) this.#askAgain();
      return;
    }
    this.#asked = tab;
    this.#loans += 1;
    tab.post({ lend: { loan: this.#loans } });
    this.#timer = setTimeout(() => this.#noAnswer(tab), PATIENCE);
  }

  /** Hands a batch over; without a disk it is dropped, as the core gives it again to the next one. */
  give(batch: DiskBatch): void {
    if (!this.#disk?.ready) return;
    this.#unanswered = true;
    const transfer: Transferable[] = [];
    for (const op of batch.ops) if (op.op === "write") transfer.push(op.bytes.buffer);
    this.#post({ batch }, transfer);
  }

  /**
   * The site's data may have been cleared: the next disk sees what is left. This one cannot tell, as writing into files
   * without a name does not fail; and it must be gone before anybody looks, or Chromium's file system answers nobody
   * any more. It is not asked to close its files: Chromium would not return from there.
   */
  doubt(why: Problem): void {
    this.#locksMeet = false;
    const disk = this.#disk;
    this.#disk = undefined;
    if (disk) {
      disk.life.abort();
      disk.port.onmessage = null;
      disk.lender.post("endDisk");
    } else if (this.#asked) {
      this.#asked.post("endDisk");
      this.#asked = undefined;
    }
    this.#unanswered = false;
    this.#lost(why);
  }

  /** A tab hands a disk over. */
  lent(tab: TabPort, loan: number, port: MessagePort): void {
    if (this.#ended || this.#asked !== tab || loan !== this.#loans) {
      port.postMessage("close" satisfies ToDisk);
      return;
    }
    this.#asked = undefined;
    this.#use(port, tab);
  }

  notLent(tab: TabPort, loan: number, why: Problem): void {
    if (loan !== this.#loans || (this.#asked !== tab && this.#disk?.lender !== tab)) return;
    this.#unable.add(tab);
    this.#asked = undefined;
    this.#drop();
    this.#handlers.lost(this.#lender() ? null : why);
    this.want();
  }

  /** The tab is seen or runs again: what it could not do before it may be able to do now. */
  trust(tab: TabPort): void {
    if (this.#unable.delete(tab)) this.want();
  }

  /** A tab is gone or about to be frozen, and what it lent with it. */
  withoutTab(tab: TabPort): void {
    if (this.#disk?.lender === tab) this.#lost(null);
    else if (this.#asked === tab) {
      this.#asked = undefined;
      this.want();
    }
  }

  end(): void {
    this.#ended = true;
    this.#asked = undefined;
    clearTimeout(this.#timer);
    this.#drop();
  }

  #lender(): TabPort | undefined {
    const failures = (tab: TabPort) => this.#failures.get(tab) ?? 0;
    const able = this.#handlers.lenders().filter((tab) => !this.#unable.has(tab));
    return able.sort((a, b) => failures(a) - failures(b))[0];
  }

  #askAgain(): void {
    const wait = Math.min(BACK_OFF.first * 2 ** this.#fruitless, BACK_OFF.longest);
    this.#timer = setTimeout(() => {
      this.#fruitless += 1;
      this.#unable = new WeakSet();
      this.want();
    }, wait);
  }

  #use(port: MessagePort, lender: TabPort): void {
    const disk: Disk = { port, life: new AbortController(), lender, ready: false };
    this.#disk = disk;
    port.onmessage = ({ data }: MessageEvent<FromDisk>) => {
      if (this.#disk === disk) this.#take(disk, data);
    };
    const hubLock = this.#locksMeet ? this.#hubLock : null;
    this.#post({ open: { document: this.#document, hubLock } });
  }

  #take(disk: Disk, message: FromDisk): void {
    const handlers = this.#handlers;
    if ("answer" in message) {
      this.#unanswered = false;
      handlers.answer(message.answer);
    } else if ("here" in message) {
      clearTimeout(this.#timer);
      // Without, it is gone when its tab is.
      if (this.#locksMeet) whenFree(message.here.lock, disk.life.signal, () => this.#lost(null));
    } else if ("ready" in message) this.#ready(disk, message.ready.empty);
    else if ("blocked" in message) handlers.lost(message.blocked);
    else if ("lost" in message) this.#lost(message.lost);
    else {
      // Not tried again before a tab comes: what is absent for one is absent for all.
      this.#drop();
      if ("absent" in message) handlers.absent(message.absent);
      else handlers.failed(message.failed);
    }
  }

  async #ready(disk: Disk, empty: boolean): Promise<void> {
    try {
      await this.#handlers.mark(empty);
    } catch (error) {
      if (this.#disk !== disk) return;
      this.#drop();
      this.#handlers.failed(
        error instanceof Failure ? error.problem : problem("storage_unavailable", messageOf(error)),
      );
      return;
    }
    if (this.#disk !== disk) return;
    disk.ready = true;
    this.#fruitless = 0;
    this.#handlers.ready(empty);
  }

  #noAnswer(tab: TabPort): void {
    if (this.#disk?.lender === tab) this.#drop();
    this.#asked = undefined;
    // It may only have been busy, but the others come first now.
    this.#failures.set(tab, (this.#failures.get(tab) ?? 0) + 1);
    this.want();
  }

  #lost(why: Problem | null): void {
    this.#drop();
    this.#handlers.lost(why);
    if (why) this.#timer = setTimeout(() => this.want(), PAUSE);
    else this.want();
  }

  #drop(): void {
    clearTimeout(this.#timer);
    const disk = this.#disk;
    if (!disk) return;
    this.#post("close");
    disk.life.abort();
    disk.port.onmessage = null;
    this.#disk = undefined;
    this.#unanswered = false;
  }

  #post(message: ToDisk, transfer: Transferable[] = []): void {
    this.#disk?.port.postMessage(message, transfer);
  }
}
