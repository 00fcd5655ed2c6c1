import initWasm, { handle, start, stop } from "../../crate/wasm/pkg/offprint_wasm.js";
import type { Definition, Problem, StorageKind, TabEvent, TabRequest } from "./rpc.generated.ts";
import type { DiskAnswer, DiskBatch } from "./rpc.ts";

/** What a replica is made from (crate/wasm, input.rs). */
export type CoreConfig = {
  document: string;
  definition: Definition;
  server: boolean;
  entropy: Uint8Array;
};

/** What happens to the core (crate/core, host.rs). */
export type CoreInput =
  | { tabHere: { tab: string } }
  | { tabGone: { tab: string } }
  | { request: { tab: string } & TabRequest }
  | { diskReady: { kind: StorageKind; durable: boolean; reason: Problem | null } }
  | { diskLost: { problem: Problem | null } }
  | "filesGone"
  | { persisted: { persisted: boolean } }
  | { disk: DiskAnswer }
  | { socketOpened: { token: string } }
  | { socketFrame: Uint8Array }
  | { socketClosed: { problem: Problem | null } }
  | { snapshotBytes: Uint8Array }
  | "snapshotFailed"
  | "wake";

/** What the core wants done (crate/core, host.rs). */
export type CoreEffect =
  | { tab: { tab: string; event: TabEvent } }
  | { disk: DiskBatch }
  | "connect"
  | "disconnect"
  | { send: Uint8Array<ArrayBuffer> }
  | { fetch: { journal: string; lsn: number; size: number } }
  | "stopFetch"
  | { wake: { at: number } };

/** The document as a state machine in wasm: one at a time. */
export type Core = {
  /** Makes the replica; throws a `Problem` when the definition is bad. */
  start(config: CoreConfig): void;
  /** Takes what has come and tells what is to be done. Whatever it throws, this worker is of no use any more. */
  handle(now: number, inputs: CoreInput[]): CoreEffect[];
  stop(): void;
};

/** Fetches and compiles the module, from beside this script unless told otherwise. */
export async function loadCore(url: string | null): Promise<Core> {
  await initWasm(url === null ? undefined : { module_or_path: url });
  return { start, handle: (now, inputs) => handle(now, inputs) as CoreEffect[], stop };
}
