import { useCallback, useSyncExternalStore } from "react";
import type { Status } from "../../../worker/src/rpc.generated.ts";
import type { Document } from "../document.ts";

/** What a status needs of a document, whatever its definition. */
type HasStatus = Pick<Document, "status" | "onStatus">;

/** A document's status. */
export function useStatus(doc: HasStatus): Status;
/** A document's status; undefined while there is no document. */
export function useStatus(doc: HasStatus | undefined): Status | undefined;
export function useStatus(doc: HasStatus | undefined): Status | undefined {
  const listen = useCallback((changed: () => void) => doc?.onStatus(changed) ?? (() => undefined), [doc]);
  const status = () => doc?.status;
  return useSyncExternalStore(listen, status, status);
}
