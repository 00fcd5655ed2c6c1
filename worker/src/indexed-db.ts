import { isQuota } from "./problem.ts";

/** The result of a request. */
export function resultOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Resolves once the transaction is committed; rejects with what ended it otherwise. */
export function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => {
      if (isQuota(transaction.error)) passCleanup(transaction);
      reject(transaction.error ?? new DOMException("the transaction was aborted", "AbortError"));
    };
  });
}

/** After one that found no room, Firefox lets a connection's next transaction delete and nothing else. */
function passCleanup({ db, objectStoreNames }: IDBTransaction): void {
  try {
    db.transaction(objectStoreNames, "readwrite").abort();
  } catch {
    // The connection is closed: the next one is not restricted.
  }
}

type DataLoss = { dataLoss: string; dataLossMessage: string };

let loss: string | undefined;

/** Why the browser threw this origin's databases away when one was opened here, if it did. */
export const databasesLost = (): string | undefined => loss;

/** Opens a database of one version. If it is new its stores are made, and what `made` puts into them is there with them. */
export function openDatabase(
  name: string,
  stores: readonly string[],
  made?: (store: (name: string) => IDBObjectStore) => void,
): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = (event) => {
      noticeLoss(event);
      const all = new Map(stores.map((store) => [store, request.result.createObjectStore(store)]));
      made?.((store) => all.get(store) as IDBObjectStore);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Opens a database, if it is there: none is made. */
export function openExisting(name: string): Promise<IDBDatabase | undefined> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name);
    let isNew = false;
    request.onupgradeneeded = (event) => {
      noticeLoss(event);
      isNew = true;
      request.transaction?.abort();
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => (isNew ? resolve(undefined) : reject(request.error));
  });
}

/** Chromium throws an origin's databases away when it cannot read them, and says so here alone. */
function noticeLoss(event: IDBVersionChangeEvent): void {
  const { dataLoss, dataLossMessage } = event as IDBVersionChangeEvent & Partial<DataLoss>;
  if (dataLoss === "total") loss = dataLossMessage || "no reason was given";
}

/** Whether there is a database of this name. */
export async function hasDatabase(name: string): Promise<boolean> {
  return (await indexedDB.databases()).some((database) => database.name === name);
}

/** Deletes a database, once every connection with it is closed. */
export async function deleteDatabase(name: string): Promise<void> {
  await resultOf(indexedDB.deleteDatabase(name));
}
