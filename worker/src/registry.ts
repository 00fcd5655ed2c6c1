import { committed, databasesLost, openDatabase, resultOf } from "./indexed-db.ts";
import type { StorageKind } from "./rpc.generated.ts";

/** Kinds of disk that outlive the hub. */
export type LastingKind = Exclude<StorageKind, "none" | "memory">;

/** What is noted of a document beside its files. Only `kind` and `removing` are relied on. */
export type Entry = {
  /** Where the document lives: noted before anything is in its files, so that no other store is opened over them. */
  kind: LastingKind;
  /** Whether the files are being removed, which has to be finished before the document is opened again. */
  removing: boolean;
  definition: string | null;
  /** Mutations that the server did not have when this was noted; null while nobody has counted them. */
  pending: number | null;
  /** Milliseconds since 1970. */
  used: number;
};

/** The key of a {@link Loss}, which is no document's id. */
const LOSS = "";
/** How long after a loss a document that nobody has opened since is taken for lost, in milliseconds. */
const LOSS_COUNTS = 30 * 24 * 60 * 60 * 1000;

/** That the browser threw all of this origin's databases away; it says so only to whoever opens the first of them. */
type Loss = { why: string; at: number };

/** Where each of the origin's documents lives. */
export class Registry {
  readonly #database: IDBDatabase;

  private constructor(database: IDBDatabase, closed: () => void) {
    this.#database = database;
    database.onclose = closed;
    database.onversionchange = () => {
      database.close();
      closed();
    };
  }

  /** Opens it; `closed` is called when the browser takes it away, which it does when it clears the site's data. */
  static async open(closed: () => void): Promise<Registry> {
    const database = await openDatabase("offprint", ["document"], (store) => {
      const why = databasesLost();
      if (why !== undefined) store("document").put({ why, at: Date.now() } satisfies Loss, LOSS);
    });
    return new Registry(database, closed);
  }

  /** Why a document that has no files may have been thrown away. */
  async lost(): Promise<string | undefined> {
    const loss: Loss | undefined = await resultOf(this.#store("readonly").get(LOSS));
    return loss && Date.now() - loss.at < LOSS_COUNTS ? loss.why : undefined;
  }

  async find(document: string): Promise<Entry | undefined> {
    return resultOf(this.#store("readonly").get(document));
  }

  async all(): Promise<Map<string, Entry>> {
    const store = this.#store("readonly");
    const [ids, entries] = await Promise.all([resultOf(store.getAllKeys()), resultOf(store.getAll())]);
    const all = new Map(ids.map((id, at) => [String(id), entries[at] as Entry]));
    all.delete(LOSS);
    return all;
  }

  /** Notes a document, so that it survives a power cut once this resolves. */
  async put(document: string, entry: Entry): Promise<void> {
    const store = this.#store("readwrite", "strict");
    store.put(entry, document);
    await committed(store.transaction);
  }

  /** Changes what is noted of a document, if anything is. */
  async note(document: string, change: Partial<Entry>): Promise<void> {
    const store = this.#store("readwrite");
    const entry: Entry | undefined = await resultOf(store.get(document));
    if (entry) store.put({ ...entry, ...change }, document);
    await committed(store.transaction);
  }

  async remove(document: string): Promise<void> {
    const store = this.#store("readwrite", "strict");
    store.delete(document);
    await committed(store.transaction);
  }

  close(): void {
    this.#database.onclose = null;
    this.#database.onversionchange = null;
    this.#database.close();
  }

  #store(mode: IDBTransactionMode, durability: IDBTransactionDurability = "relaxed"): IDBObjectStore {
    return this.#database.transaction("document", mode, { durability }).objectStore("document");
  }
}
