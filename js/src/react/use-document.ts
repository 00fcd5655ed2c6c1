import { useCallback, useSyncExternalStore } from "react";
import type { DocumentDefinition } from "../definition.ts";
import type { OpenOptions } from "../open.ts";
import { OPENING, type OpenedDocument, SharedDocument } from "./shared-document.ts";

export type { OpenedDocument } from "./shared-document.ts";

type Shared = Map<string, SharedDocument<DocumentDefinition>>;

const shared = new WeakMap<DocumentDefinition, Shared>();

/**
 * Opens a document for as long as components use it. Components that name the same definition, id and server share
 * it; the other options are those of the first. One that could not be opened is opened anew once none of them is left:
 * a component with another `key` tries again, with its own options.
 */
export function useDocument<D extends DocumentDefinition>(
  definition: D,
  id: string,
  options: OpenOptions = {},
): OpenedDocument<D> {
  const key = `${id} ${options.server ?? ""}`;
  // biome-ignore lint/correctness/useExhaustiveDependencies: options may be a new object at every render
  const use = useCallback(
    (listener: () => void) => {
      const documents: Shared = shared.get(definition) ?? new Map();
      shared.set(definition, documents);
      let document = documents.get(key);
      if (!document) {
        document = new SharedDocument(definition as DocumentDefinition, id, options, () =>
          documents.delete(key),
        );
        documents.set(key, document);
      }
      return document.use(listener);
    },
    [definition, key],
  );
  const state = () => (shared.get(definition)?.get(key)?.state ?? OPENING) as OpenedDocument<D>;
  return useSyncExternalStore(use, state, () => OPENING);
}
