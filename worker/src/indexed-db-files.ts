import type { Files } from "./files.ts";
import { committed, deleteDatabase, hasDatabase, openDatabase, resultOf } from "./indexed-db.ts";
import type { DiskOp, DiskValue, FileName } from "./rpc.ts";

/** A file is kept in records of this many bytes, so that an append writes one page and not more. */
const CHUNK = 4096;

/** The chunk of a file that was last written in part. */
type Tail = { index: number; bytes: Uint8Array<ArrayBuffer> };

/** What a batch changes, which counts once its transaction is committed. */
type Changes = { sizes: Map<FileName, number>; tails: Map<FileName, Tail> };

const databaseOf = (document: string) => `offprint|${document}`;
const isWrite = ({ op }: DiskOp) => op !== "size" && op !== "read";

/**
 * A document's files in a database of their own. A batch is one transaction, so it is carried out whole or not at all,
 * and is as durable as the browser can make it when it is answered. Chunks that were never written are zeros.
 */
export class IndexedDbFiles implements Files {
  readonly empty: boolean;
  readonly #database: IDBDatabase;
  #kept: Changes;

  private constructor(database: IDBDatabase, sizes: Map<FileName, number>) {
    this.#database = database;
    this.#kept = { sizes, tails: new Map() };
    this.empty = !sizes.get("head");
  }

  /** Whether a document is kept this way. */
  static there(document: string): Promise<boolean> {
    return hasDatabase(databaseOf(document));
  }

  /** Removes a document's files, once nobody has them open. */
  static discard(document: string): Promise<void> {
    return deleteDatabase(databaseOf(document));
  }

  /** Opens the files, creating what is absent. `gone` is called when the browser takes them away. */
  static async open(document: string, gone: () => void): Promise<IndexedDbFiles> {
    const database = await openDatabase(databaseOf(document), ["file", "chunk"]);
    database.onclose = gone;
    // Somebody wants to delete it.
    database.onversionchange = () => {
      database.close();
      gone();
    };
    try {
      const files = database.transaction("file").objectStore("file");
      const [names, sizes] = await Promise.all([resultOf(files.getAllKeys()), resultOf(files.getAll())]);
      return new IndexedDbFiles(
        database,
        new Map(names.map((name, at) => [name as FileName, sizes[at] as number])),
      );
    } catch (error) {
      database.close();
      throw error;
    }
  }

  async run(ops: readonly DiskOp[]): Promise<DiskValue[]> {
    const mode = ops.some(isWrite) ? "readwrite" : "readonly";
    const transaction = this.#database.transaction(["file", "chunk"], mode, { durability: "strict" });
    const end = committed(transaction);
    // Told below, after what led to it.
    end.catch(() => undefined);
    const changes = { sizes: new Map(this.#kept.sizes), tails: new Map(this.#kept.tails) };
    const work = new Work(transaction, changes);
    const values: DiskValue[] = [];
    try {
      for (const op of ops) values.push(await work.run(op));
      work.writeSizes(this.#kept.sizes);
      await end;
    } catch (error) {
      // An abort says why, which the request that failed by it does not.
      if (transaction.error) throw transaction.error;
      try {
        transaction.abort();
      } catch {
        // It has ended already.
      }
      throw error;
    }
    this.#kept = changes;
    return values;
  }

  close(): void {
    this.#database.onclose = null;
    this.#database.onversionchange = null;
    this.#database.close();
  }
}

/** One batch in its transaction. */
class Work {
  readonly #files: IDBObjectStore;
  readonly #chunks: IDBObjectStore;
  readonly #changes: Changes;

  constructor(transaction: IDBTransaction, changes: Changes) {
    this.#files = transaction.objectStore("file");
    this.#chunks = transaction.objectStore("chunk");
    this.#changes = changes;
  }

  async run(op: DiskOp): Promise<DiskValue> {
    const size = this.#changes.sizes.get(op.file) ?? 0;
    switch (op.op) {
      case "size":
        return size;
      case "read":
        return this.#read(op.file, op.offset, Math.max(0, Math.min(op.len, size - op.offset)));
      case "write":
        await this.#write(op.file, op.offset, op.bytes);
        return null;
      case "grow":
        if (size < op.to) this.#changes.sizes.set(op.file, op.to);
        return null;
      case "truncate":
        if (size > op.to) await this.#truncate(op.file, op.to);
        return null;
      case "flush":
        return null;
    }
  }

  writeSizes(before: ReadonlyMap<FileName, number>): void {
    for (const [file, size] of this.#changes.sizes) {
      if (before.get(file) !== size) this.#files.put(size, file);
    }
  }

  async #read(file: FileName, offset: number, len: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(len);
    if (len === 0) return bytes;
    const first = Math.floor(offset / CHUNK);
    const range = IDBKeyRange.bound([file, first], [file, Math.floor((offset + len - 1) / CHUNK)]);
    const [keys, chunks] = await Promise.all([
      resultOf(this.#chunks.getAllKeys(range)),
      resultOf(this.#chunks.getAll(range)),
    ]);
    for (const [at, key] of keys.entries()) {
      const chunk = new Uint8Array(chunks[at] as ArrayBuffer);
      const start = (key as [string, number])[1] * CHUNK - offset;
      const part = chunk.subarray(Math.max(0, -start), Math.max(0, Math.min(chunk.length, len - start)));
      if (part.length > 0) bytes.set(part, Math.max(0, start));
    }
    return bytes;
  }

  async #write(file: FileName, offset: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const end = offset + bytes.length;
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / CHUNK);
      const start = at - index * CHUNK;
      const part = bytes.subarray(at - offset, Math.min(end, (index + 1) * CHUNK) - offset);
      await this.#put(file, index, start, part);
      at += part.length;
    }
    const size = this.#changes.sizes.get(file) ?? 0;
    if (bytes.length > 0 && size < end) this.#changes.sizes.set(file, end);
  }

  async #truncate(file: FileName, to: number): Promise<void> {
    const first = Math.floor(to / CHUNK);
    const kept = (await this.#read(file, first * CHUNK, to - first * CHUNK)).slice();
    this.#chunks.delete(IDBKeyRange.bound([file, first], [file, Number.POSITIVE_INFINITY]));
    this.#changes.tails.delete(file);
    if (kept.length > 0) this.#chunks.put(kept.buffer, [file, first]);
    this.#changes.sizes.set(file, to);
  }

  async #put(file: FileName, index: number, start: number, part: Uint8Array<ArrayBuffer>): Promise<void> {
    const { tails } = this.#changes;
    // A buffer of its own: a view would be cloned with all that is behind it.
    let chunk = part.slice();
    if (part.length < CHUNK) {
      const tail = tails.get(file);
      const before = tail?.index === index ? tail.bytes : await this.#get(file, index);
      const merged = new Uint8Array(Math.max(before.length, start + part.length));
      merged.set(before);
      merged.set(part, start);
      chunk = merged;
      tails.set(file, { index, bytes: merged });
    } else if (tails.get(file)?.index === index) tails.delete(file);
    // Not waited for: a request that fails aborts the transaction.
    this.#chunks.put(chunk.buffer, [file, index]);
  }

  async #get(file: FileName, index: number): Promise<Uint8Array<ArrayBuffer>> {
    const chunk: ArrayBuffer | undefined = await resultOf(this.#chunks.get([file, index]));
    return chunk ? new Uint8Array(chunk) : new Uint8Array();
  }
}
