import type { Problem, Status } from "../../worker/src/rpc.generated.ts";

/** Why a document that is not ready never will be; nothing while it is on its way, whatever its storage tells. */
export function endOfOpening({ ready, progress, storage }: Status): Problem | null {
  const { kind, reason, shortage } = storage;
  // What was read is replayed whatever becomes of the disk; what was damaged is told meanwhile.
  if (ready || progress) return null;
  switch (reason?.code) {
    // Held is not absent, and the others are tried again.
    case "blocked":
    case "storage_cleared":
    case "disk":
      return null;
    // Of a disk that is there they say what it has no room for, or why it is not of a better kind.
    case "quota":
    case "storage_unavailable":
      return kind === "none" && shortage === null ? reason : null;
    default:
      return reason;
  }
}

/**
 * Whether the server has yet to say if it takes over the history that this device made by itself. It is asked once that
 * history is on the device, which may be never while the device takes nothing.
 */
export const awaitsVerdict = ({ local, connection, connectionProblem, storage }: Status): boolean =>
  local &&
  connectionProblem === null &&
  connection !== "online" &&
  storage.shortage === null &&
  storage.reason?.code !== "disk";
