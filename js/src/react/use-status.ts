import { useCallback, useSyncExternalStore } from "react";
import type { Status } from "../../../worker/src/rpc.generated.ts";
import type { Document } from "../document.ts";

/** A document's status. */
export function useStatus(doc: Document): Status;
/** A document's status; undefined while there is no document. */
export function useStatus(doc: Document | undefined): Status | undefined;
export function useStatus(doc: Document | undefined): Status | undefined {
  const listen = useCallback((changed: () => void) => doc?.onStatus(changed) ?? (() => undefined), [doc]);
  const status = () => doc?.status;
  return useSyncExternalStore(listen, status, status);
}
