import { committed, openDatabase, resultOf } from "./indexed-db.ts";
import type { StorageKind } from "./rpc.generated.ts";

/** Kinds of disk that outlive the hub. */
export type LastingKind = Exclude<StorageKind, "none" | "memory">;

/** What is noted of a document beside its files. Only `kind` and `removing` are relied on. */
export type Entry = {
  /** Where the document lives: noted before its files are made, so that no other store is opened over them. */
  kind: LastingKind;
  /** Whether the files are being removed, which has to be finished before the document is opened again. */
  removing: boolean;
  definition: string | null;
  /** Mutations that the server did not have when this was noted. */
  pending: number;
  /** Milliseconds since 1970. */
  used: number;
};

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
    return new Registry(await openDatabase("offprint", ["document"]), closed);
  }

  async find(document: string): Promise<Entry | undefined> {
    return resultOf(this.#store("readonly").get(document));
  }

  async all(): Promise<Map<string, Entry>> {
    const store = this.#store("readonly");
    const [ids, entries] = await Promise.all([resultOf(store.getAllKeys()), resultOf(store.getAll())]);
    return new Map(ids.map((id, at) => [String(id), entries[at] as Entry]));
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
