import { committed, openExisting, resultOf } from "./indexed-db.ts";
import { Registry } from "./registry.ts";
import type { DocumentInfo } from "./rpc.ts";

const DIRECTORY = ".offprint";
const DATABASE = "offprint|";

/** The documents that are kept on this device, as their files and the registry tell: nothing is opened or changed. */
export async function listDocuments(): Promise<DocumentInfo[]> {
  const found = new Map<string, DocumentInfo>();
  const add = (id: string, kind: DocumentInfo["kind"], size: number) => {
    const { size: before = 0 } = found.get(id) ?? {};
    found.set(id, { id, kind, size: before + size, definition: null, pending: null, used: null });
  };
  // Either store may be absent here.
  await inFileSystem(add).catch(() => undefined);
  await inIndexedDb(add).catch(() => undefined);
  const entries = await noted().catch(() => undefined);
  // A document is noted before anything is in its files.
  for (const [id, { size }] of found) if (size === 0 && entries?.has(id) === false) found.delete(id);
  for (const [id, entry] of entries ?? []) {
    const document = found.get(id);
    if (entry.removing) found.delete(id);
    else if (document) {
      const { definition, pending, used, kind } = entry;
      found.set(id, { ...document, kind, definition, pending, used });
    }
  }
  return [...found.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

type Add = (id: string, kind: DocumentInfo["kind"], size: number) => void;

async function noted() {
  const registry = await Registry.open(() => undefined);
  try {
    return await registry.all();
  } finally {
    registry.close();
  }
}

async function inFileSystem(add: Add): Promise<void> {
  const root = await navigator.storage.getDirectory();
  const all = await root.getDirectoryHandle("offprint");
  for await (const [name, directory] of all.entries()) {
    if (!name.endsWith(DIRECTORY) || directory.kind !== "directory") continue;
    let size = 0;
    for await (const file of (directory as FileSystemDirectoryHandle).values()) {
      // A file that is open may refuse to say how long it is. The lock is none of the document's.
      if (file.kind === "file" && file.name !== "lock") {
        size += await (file as FileSystemFileHandle)
          .getFile()
          .then((file) => file.size)
          .catch(() => 0);
      }
    }
    add(name.slice(0, -DIRECTORY.length), "opfs", size);
  }
}

async function inIndexedDb(add: Add): Promise<void> {
  for (const { name } of await indexedDB.databases()) {
    if (!name?.startsWith(DATABASE)) continue;
    // It may have been deleted meanwhile.
    const database = await openExisting(name);
    if (!database) continue;
    try {
      const transaction = database.transaction("file");
      const end = committed(transaction);
      const sizes: number[] = await resultOf(transaction.objectStore("file").getAll());
      await end;
      const size = sizes.reduce((sum, size) => sum + size, 0);
      add(name.slice(DATABASE.length), "indexedDb", size);
    } finally {
      database.close();
    }
  }
}
