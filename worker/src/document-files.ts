import { type Files, NAMES, QuotaError } from "./files.ts";
import { isHeld, isQuota, messageOf } from "./problem.ts";
import type { DiskOp, DiskValue, FileName } from "./rpc.ts";

const ZEROS = new Uint8Array(1 << 20);

/** How soon a file that somebody holds is tried again: dying workers let go within milliseconds, or never. */
const pauses = { first: 5, longest: 500 };

/** This browser has no private file system, or none that keeps what it is given. */
export class AbsentError extends Error {
  override readonly name = "AbsentError";

  constructor(cause: unknown) {
    super(`this browser offers no private file system here: ${messageOf(cause)}`, { cause });
  }
}

/** What waits for a file that somebody else holds is told so, and goes on waiting until the signal is aborted. */
type Waiting = { signal: AbortSignal; held: (error: unknown) => void };

/** Tries again for as long as somebody holds what is wanted. */
async function untilFree<T>({ signal, held }: Waiting, open: () => Promise<T>): Promise<T> {
  for (let pause = pauses.first; ; pause = Math.min(pause * 2, pauses.longest)) {
    signal.throwIfAborted();
    try {
      return await open();
    } catch (error) {
      if (!isHeld(error)) throw error;
      held(error);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function openHandle(
  directory: FileSystemDirectoryHandle,
  name: string,
  waiting: Waiting,
): Promise<FileSystemSyncAccessHandle> {
  const file = await directory.getFileHandle(name, { create: true });
  if (!file.createSyncAccessHandle) throw new AbsentError("it has no access handles");
  return untilFree(waiting, () => file.createSyncAccessHandle());
}

/** Opening and reading prove little: a browser may offer storage that does not keep what it is given. */
function probe(lock: FileSystemSyncAccessHandle): void {
  const byte = new Uint8Array([0x4c]);
  try {
    lock.write(byte, { at: 0 });
  } catch (error) {
    // A full device still has what is on it.
    if (isQuota(error)) return;
    throw error;
  }
  byte[0] = 0;
  if (lock.read(byte, { at: 0 }) === 1 && byte[0] !== 0x4c) throw new AbsentError("a probe was not kept");
}

const isRefusal = (error: unknown) =>
  error instanceof DOMException && ["SecurityError", "NotSupportedError"].includes(error.name);

const isNotFound = (error: unknown) => error instanceof DOMException && error.name === "NotFoundError";

async function root(): Promise<FileSystemDirectoryHandle> {
  try {
    return await navigator.storage.getDirectory();
  } catch (error) {
    throw new AbsentError(error);
  }
}

// A document may be called `..`, which no directory may.
const directoryOf = (document: string) => `${document}.offprint`;

/** A document's files in the origin private file system. */
export class DocumentFiles implements Files {
  readonly empty: boolean;
  readonly #lock: FileSystemSyncAccessHandle;
  readonly #files: ReadonlyMap<FileName, FileSystemSyncAccessHandle>;

  private constructor(
    lock: FileSystemSyncAccessHandle,
    files: ReadonlyMap<FileName, FileSystemSyncAccessHandle>,
  ) {
    this.#lock = lock;
    this.#files = files;
    this.empty = !files.get("head")?.getSize();
  }

  /** Whether a document is kept this way. */
  static async there(document: string): Promise<boolean> {
    try {
      const all = await (await root()).getDirectoryHandle("offprint");
      await all.getDirectoryHandle(directoryOf(document));
      return true;
    } catch (error) {
      if (error instanceof AbsentError || isRefusal(error) || isNotFound(error)) return false;
      throw error;
    }
  }

  /** Removes a document's files, once nobody has them open. */
  static async discard(document: string, signal: AbortSignal): Promise<void> {
    const name = directoryOf(document);
    const gone = (error: unknown) => {
      if (!isNotFound(error)) throw error;
    };
    await untilFree({ signal, held: () => undefined }, async () => {
      const all = await (await root()).getDirectoryHandle("offprint", { create: true });
      const directory = await all.getDirectoryHandle(name, { create: true });
      // Without a head the others are not taken for a document.
      await directory.removeEntry("head").catch(gone);
      await all.removeEntry(name, { recursive: true }).catch(gone);
    });
  }

  /** Opens them, creating what is absent. */
  static open(document: string, waiting: Waiting): Promise<DocumentFiles> {
    return untilFree(waiting, () => DocumentFiles.#open(document, waiting));
  }

  /** The handle on `lock` comes first: who has it may touch the others. */
  static async #open(document: string, waiting: Waiting): Promise<DocumentFiles> {
    const open: FileSystemSyncAccessHandle[] = [];
    try {
      const all = await (await root()).getDirectoryHandle("offprint", { create: true });
      const directory = await all.getDirectoryHandle(directoryOf(document), { create: true });
      const lock = await openHandle(directory, "lock", waiting);
      open.push(lock);
      probe(lock);
      const files = new Map<FileName, FileSystemSyncAccessHandle>();
      for (const name of NAMES) {
        const handle = await openHandle(directory, name, waiting);
        open.push(handle);
        files.set(name, handle);
      }
      return new DocumentFiles(lock, files);
    } catch (error) {
      for (const handle of open) handle.close();
      throw isRefusal(error) ? new AbsentError(error) : error;
    }
  }

  run(ops: readonly DiskOp[]): DiskValue[] {
    return ops.map((op) => this.#run(op));
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
    this.#lock.close();
  }

  #run(op: DiskOp): DiskValue {
    const file = this.#files.get(op.file);
    if (!file) throw new Error(`there is no file ${op.file}`);
    switch (op.op) {
      case "size":
        return file.getSize();
      case "read": {
        const bytes = new Uint8Array(Math.max(0, Math.min(op.len, file.getSize() - op.offset)));
        const count = file.read(bytes, { at: op.offset });
        return count === bytes.length ? bytes : bytes.slice(0, count);
      }
      case "write":
        write(file, op.bytes, op.offset);
        return null;
      case "grow":
        for (let size = file.getSize(); size < op.to; size += ZEROS.length) {
          write(file, ZEROS.subarray(0, op.to - size), size);
        }
        return null;
      case "truncate":
        if (file.getSize() > op.to) file.truncate(op.to);
        return null;
      case "flush":
        file.flush();
        return null;
    }
  }
}

function write(file: FileSystemSyncAccessHandle, bytes: Uint8Array<ArrayBuffer>, at: number): void {
  const count = file.write(bytes, { at });
  // Some browsers throw when the device is full, others write less than they were given.
  if (count !== bytes.length) throw new QuotaError(`${count} of ${bytes.length} bytes were written`);
}
