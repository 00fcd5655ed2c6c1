import type { CoreInput } from "./core.ts";
import { DiskLink } from "./disk-link.ts";
import { databasesLost } from "./indexed-db.ts";
import { IndexedDbFiles } from "./indexed-db-files.ts";
import { LocalDisk } from "./local-disk.ts";
import { MemoryFiles } from "./memory-files.ts";
import { discard } from "./place.ts";
import { Failure, isQuota, messageOf, problem } from "./problem.ts";
import { type Entry, type LastingKind, Registry } from "./registry.ts";
import type { Problem, StorageKind } from "./rpc.generated.ts";
import type { DiskBatch } from "./rpc.ts";
import type { TabPort } from "./tab-port.ts";

/** How long IndexedDB may take to say where the document is before it is told. */
const PATIENCE = 5_000;
/** How long after the browser closed the registry it is opened again. */
const PAUSE = 250;
/** How long after a document in use had no storage it is looked for again. */
const AGAIN = 2_000;
/** How often it is noted how many mutations are pending. */
const NOTE = 1_000;

const MADE_THERE = "the document was made where this browser offered no private file system";

export type DiskLadderHandlers = {
  input: (input: CoreInput) => void;
  /** The tabs that could lend a disk, best first. */
  lenders: () => TabPort[];
  /** Whether the app would rather have the document in memory than not at all. */
  memory: () => boolean;
};

/**
 * The document's disk: the private file system, through a disk that a tab lends; where that is absent, IndexedDB; where
 * that is absent too, memory, if the app wants it. Where a document was made is noted, and it is looked for only there.
 */
export class DiskLadder {
  readonly #document: string;
  readonly #definition: string;
  readonly #hubLock: string;
  readonly #handlers: DiskLadderHandlers;
  #registry: Promise<Registry> | undefined;
  /** Where the registry says that the document is. */
  #place: LastingKind | undefined;
  /** Why the registry cannot be read. */
  #blind: Problem | undefined;
  /** Why there may have been more of the document than there is. */
  #loss: string | undefined;
  #rung: DiskLink | LocalDisk | undefined;
  #looking = false;
  /** Whether the core was given files once. */
  #used = false;
  /** Whether they were gone once. */
  #cleared = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** As the core told; until then what is noted stays. */
  #pending: number | undefined;
  #noteTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #life = new AbortController();

  constructor(document: string, definition: string, hubLock: string, handlers: DiskLadderHandlers) {
    this.#document = document;
    this.#definition = definition;
    this.#hubLock = hubLock;
    this.#handlers = handlers;
  }

  /** Whether no disk owes an answer. */
  get idle(): boolean {
    return this.#rung?.idle ?? true;
  }

  /** Sees to it that there is a disk, or will be. */
  want(): void {
    if (this.#life.signal.aborted || this.#looking) return;
    if (this.#rung) this.#rung.want();
    else this.#look();
  }

  give(batch: DiskBatch): void {
    this.#rung?.give(batch);
  }

  /** Sees whether the browser still has the registry: it goes with the files. */
  check(): void {
    const registry = this.#registry;
    registry
      ?.then((open) => open.find(this.#document))
      .catch(() => {
        if (this.#registry === registry) this.#closed();
      });
  }

  /** Notes for `listDocuments` how many mutations are pending. */
  note(pending: number): void {
    if (pending === this.#pending) return;
    this.#pending = pending;
    this.#noteTimer ??= setTimeout(() => this.#note(), NOTE);
  }

  /** The disk that a tab lends, if this document's is of that kind. */
  get link(): DiskLink | undefined {
    return this.#rung instanceof DiskLink ? this.#rung : undefined;
  }

  end(): void {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    clearTimeout(this.#timer);
    if (this.#noteTimer !== undefined) this.#note();
    this.#rung?.end();
    this.#registry?.then((registry) => registry.close()).catch(() => undefined);
  }

  async #look(): Promise<void> {
    this.#looking = true;
    const late = problem(
      "blocked",
      "IndexedDB does not say where the document is kept, or a removal does not end; still waiting",
    );
    const timer = setTimeout(() => this.#lost(late), PATIENCE);
    let isInIndexedDb = false;
    let unremoved: Problem | undefined;
    this.#blind = undefined;
    try {
      const entry = await this.#find();
      this.#place = entry?.kind;
      // A registry that was lost does not make a second document.
      isInIndexedDb = entry ? entry.kind === "indexedDb" : await IndexedDbFiles.there(this.#document);
    } catch (error) {
      if (error instanceof Failure) unremoved = error.problem;
      else this.#blind = problem("storage_unavailable", `IndexedDB: ${messageOf(error)}`);
    }
    clearTimeout(timer);
    this.#looking = false;
    if (this.#life.signal.aborted) return;
    if (unremoved) {
      this.#unavailable(unremoved);
      return;
    }
    this.#rung = isInIndexedDb ? this.#indexedDb(problem("storage_unavailable", MADE_THERE)) : this.#opfs();
    this.#rung.want();
  }

  /** What is noted of the document; a removal that was cut short is brought to its end before. */
  async #find(): Promise<Entry | undefined> {
    const registry = await this.#open();
    const entry = await registry.find(this.#document);
    this.#loss = entry?.removing ? undefined : await registry.lost();
    if (!entry?.removing) return entry;
    try {
      await discard(entry.kind, this.#document, this.#life.signal);
      await registry.remove(this.#document);
    } catch (error) {
      const what = `document ${this.#document} was being removed, which does not come to its end`;
      throw new Failure("storage_unavailable", `${what}: ${messageOf(error)}`);
    }
    return undefined;
  }

  /** The registry, whose end says that the site's data was cleared, perhaps. */
  #open(): Promise<Registry> {
    this.#registry ??= Registry.open(() => this.#closed()).catch((error: unknown) => {
      this.#registry = undefined;
      throw error;
    });
    return this.#registry;
  }

  #closed(): void {
    this.#registry = undefined;
    this.#place = undefined;
    if (this.#life.signal.aborted) return;
    this.link?.doubt(
      problem("storage_cleared", "the site's data may have been cleared; looking what is left"),
    );
    setTimeout(() => {
      if (!this.#life.signal.aborted) this.#open().catch(() => undefined);
    }, PAUSE);
  }

  /** Notes that the document is here, before anything of it is. */
  async #mark(kind: LastingKind, empty: boolean): Promise<void> {
    if (this.#place === kind) return;
    if (this.#blind) {
      // Files that are there are the document; whether there are others cannot be told.
      if (!empty) return;
      const what = `it cannot be told where document ${this.#document} is kept: ${this.#blind.message}`;
      throw new Failure("storage_unavailable", what);
    }
    const definition = this.#definition;
    try {
      const registry = await this.#open();
      await registry.put(this.#document, {
        kind,
        removing: false,
        definition,
        pending: this.#pending ?? null,
        used: Date.now(),
      });
    } catch (error) {
      const what = `the document could not be noted in IndexedDB: ${messageOf(error)}`;
      throw new Failure(isQuota(error) ? "quota" : "storage_unavailable", what);
    }
    this.#place = kind;
  }

  /** Nothing depends on it, so nothing is told when it fails. */
  #note(): void {
    clearTimeout(this.#noteTimer);
    this.#noteTimer = undefined;
    const pending = this.#pending === undefined ? {} : { pending: this.#pending };
    const change = { definition: this.#definition, ...pending, used: Date.now() };
    this.#registry?.then((registry) => registry.note(this.#document, change)).catch(() => this.check());
  }

  #opfs(): DiskLink {
    return new DiskLink(this.#document, this.#hubLock, {
      lenders: this.#handlers.lenders,
      mark: (empty) => this.#mark("opfs", empty),
      ready: (empty) => this.#ready("opfs", true, empty, null),
      answer: (answer) => this.#handlers.input({ disk: answer }),
      lost: (why) => this.#lost(why),
      failed: (why) => this.#unavailable(why),
      absent: (why) => {
        if (this.#place === "opfs" || this.#used) {
          const what = `document ${this.#document} is in the private file system, which is not here now`;
          this.#unavailable(problem("storage_unavailable", `${what}: ${why.message}`));
        } else if (this.#blind) this.#memory(`${why.message}; ${this.#blind.message}`);
        else this.#climb(this.#indexedDb(why));
      },
    });
  }

  #indexedDb(reason: Problem): LocalDisk {
    return new LocalDisk({
      open: async (gone) => {
        await this.#mark("indexedDb", false);
        return IndexedDbFiles.open(this.#document, gone);
      },
      ready: (empty) => {
        const lost = databasesLost() ?? (empty && !this.#used ? this.#loss : undefined);
        const what = `the browser could not read this site's databases and threw them away (${lost})`;
        const told = lost === undefined ? reason : problem("storage_cleared", what);
        this.#ready("indexedDb", true, empty, told);
      },
      answer: (answer) => this.#handlers.input({ disk: answer }),
      lost: (why) => {
        this.#place = undefined;
        this.#lost(why);
      },
      absent: (why) => {
        const where = `document ${this.#document} is in IndexedDB, which does not open: ${why.message}`;
        if (this.#place === "indexedDb" || this.#used || why.code === "quota") {
          this.#unavailable({ ...why, message: where });
        } else this.#memory(`${reason.message}; IndexedDB: ${why.message}`);
      },
    });
  }

  #memory(why: string): void {
    const reason = problem("storage_unavailable", why);
    if (!this.#handlers.memory()) {
      this.#unavailable(reason);
      return;
    }
    this.#climb(
      new LocalDisk({
        open: async () => new MemoryFiles(),
        ready: (empty) => this.#ready("memory", false, empty, reason),
        answer: (answer) => this.#handlers.input({ disk: answer }),
        lost: (why) => this.#lost(why),
        absent: (why) => this.#unavailable(why),
      }),
    );
  }

  #climb(rung: LocalDisk): void {
    this.#rung?.end();
    this.#rung = rung;
    rung.want();
  }

  /** Whether the files were gone once. */
  get isCleared(): boolean {
    return this.#cleared;
  }

  #ready(kind: StorageKind, durable: boolean, empty: boolean, reason: Problem | null): void {
    if (empty && this.#used) {
      this.#lost(
        problem("storage_cleared", "the browser cleared the document's storage; it is written again"),
      );
      this.#handlers.input("filesGone");
      this.#cleared = true;
    }
    this.#used = true;
    if (kind !== "memory") this.#note();
    this.#handlers.input({ diskReady: { kind, durable, reason } });
  }

  #lost(why: Problem | null): void {
    this.#handlers.input({ diskLost: { problem: why } });
  }

  /** The next tab that comes makes another attempt, from the start. */
  #unavailable(why: Problem): void {
    this.#rung?.end();
    this.#rung = undefined;
    this.#lost(why);
    // The core has what was to be written, and no tab waits in vain.
    if (this.#used) this.#timer = setTimeout(() => this.want(), AGAIN);
  }
}
