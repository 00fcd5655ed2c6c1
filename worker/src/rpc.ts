// What tab, hub and disk say to each other beside the document's own messages (rpc.generated.ts). Types only.
import type { Definition, Problem, TabEvent, TabRequest } from "./rpc.generated.ts";

/** How a tab introduces itself to a hub: the first message on its port. */
export type Hello = {
  /** The RPC versions that the tab speaks, lowest and highest. */
  rpc: [number, number];
  /** The tab's own id: 32 hexadecimal digits, never reused. */
  tab: string;
  /** The Web Lock that the tab holds for as long as it lives. */
  lock: string;
  document: string;
  definition: Definition;
  /** The server's URL (ws: or wss:), or null for a document without one. */
  server: string | null;
  /** Whether the tab can be asked for a token. */
  auth: boolean;
  /** Whether the tab is on screen. */
  visible: boolean;
  /** Whether the tab can start disks now: not while it is frozen or about to be. */
  awake: boolean;
  /** Whether the app would rather have the document in memory than not at all. */
  memory: boolean;
  /** Where the core is, if not beside the hub's script. */
  wasmUrl: string | null;
};

/** What a tab sends to its hub, in arrays. */
export type TabMessage =
  | TabRequest
  | { hello: Hello }
  | { visible: boolean }
  /** Whether the browser promised to keep the origin's storage. */
  | { persisted: boolean }
  | { awake: boolean }
  /** A disk was started; its port comes with the message. */
  | { lent: { loan: number; port: MessagePort } }
  | { notLent: { loan: number; problem: Problem } }
  | { token: { ask: number; token: string } }
  | { noToken: { ask: number; problem: Problem } }
  /** The tab is done with the document; answered with `gone`. */
  | "bye";

/** What a hub sends to a tab, in arrays. */
export type HubMessage =
  | TabEvent
  /** The hub lives for as long as this Web Lock is held. */
  | { here: { lock: string } }
  /** The hub does not serve this tab. */
  | { refused: Problem }
  /** The core threw, and the hub ends. */
  | { trapped: Problem }
  /** Start a disk and hand over its port. */
  | { lend: { loan: number } }
  /** End the disk that was lent, without asking it. */
  | "endDisk"
  | { askToken: { ask: number } }
  | "gone";

/** A document that is kept on this device. */
export type DocumentInfo = {
  id: string;
  kind: "opfs" | "indexedDb";
  /** Bytes that its files take. */
  size: number;
  /** The name of the definition that it was last opened with. */
  definition: string | null;
  /** Mutations that the server did not have when this was last noted. */
  pending: number | null;
  /** When it was last used, in milliseconds since 1970. */
  used: number | null;
};

/** What a page wants removed from this device. */
export type Removal = {
  document: string;
  /** Even what no server has. */
  force: boolean;
  /** Where the core is, if not beside the disk's script. */
  wasmUrl: string | null;
};

/** What a page asks of a disk that it starts for nothing else. */
export type DiskJob = "list" | { remove: Removal };

/** What came of it. */
export type DiskJobDone = { documents: DocumentInfo[] } | "removed" | { failed: Problem };

/** One operation on one of a document's files (crate/core, disk.rs). */
export type DiskOp =
  | { op: "size"; file: FileName }
  | { op: "read"; file: FileName; offset: number; len: number }
  | { op: "write"; file: FileName; offset: number; bytes: Uint8Array<ArrayBuffer> }
  | { op: "grow"; file: FileName; to: number }
  | { op: "truncate"; file: FileName; to: number }
  | { op: "flush"; file: FileName };

export type FileName = "head" | "log-0" | "log-1" | "base-0" | "base-1" | "aside";

/** Operations to carry out in order, stopping at the first that fails. */
export type DiskBatch = { no: number; ops: DiskOp[] };

/** `size` gives a number, `read` bytes, the others null. */
export type DiskValue = null | number | Uint8Array<ArrayBuffer>;

export type DiskAnswer = { no: number; values: DiskValue[] } | { no: number; problem: Problem };

/** What a hub sends to its disk. */
export type ToDisk =
  /** Open the document's files; close them when the hub's Web Lock is free, if it can be seen. */
  { open: { document: string; hubLock: string | null } } | { batch: DiskBatch } | "close";

/** What a disk sends to its hub. */
export type FromDisk =
  /** The disk lives for as long as this Web Lock is held. */
  | { here: { lock: string } }
  /** The files are open; `empty` says that they have no head yet. */
  | { ready: { empty: boolean } }
  /** Somebody else holds the files; still trying. */
  | { blocked: Problem }
  /** There is no such storage here; the disk has ended. */
  | { absent: Problem }
  /** The storage is there and the files cannot be opened; the disk has ended. */
  | { failed: Problem }
  | { answer: DiskAnswer }
  /** The files can no longer be used; the disk has ended. */
  | { lost: Problem };
