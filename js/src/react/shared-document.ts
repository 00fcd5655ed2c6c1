import type { DocumentDefinition } from "../definition.ts";
import type { Document } from "../document.ts";
import type { OffprintError } from "../error.ts";
import { type OpenOptions, open } from "../open.ts";

/** How long a document stays open after its last user: StrictMode and navigation let go and come back at once. */
const LINGER = 1_000;

export type OpenedDocument<D extends DocumentDefinition> = {
  /** The document, once it is open. */
  doc: Document<D> | undefined;
  /** Why it could not be opened. */
  error: OffprintError | undefined;
};

export const OPENING = Object.freeze({ doc: undefined, error: undefined });

/** One document for all the components of a page that use it: opened by the first, closed after the last. */
export class SharedDocument<D extends DocumentDefinition> {
  readonly #listeners = new Set<() => void>();
  readonly #giveUp = new AbortController();
  readonly #ended: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  state: OpenedDocument<D> = OPENING;

  constructor(definition: D, id: string, options: OpenOptions, ended: () => void) {
    this.#ended = ended;
    open(definition, id, { ...options, signal: this.#giveUp.signal }).then(
      (doc) => {
        if (this.#giveUp.signal.aborted) doc.close();
        else this.#set({ doc, error: undefined });
      },
      (error: OffprintError) => this.#set({ doc: undefined, error }),
    );
  }

  use(listener: () => void): () => void {
    clearTimeout(this.#timer);
    // Every user counts, also two with the same function.
    const own = () => listener();
    this.#listeners.add(own);
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return;
      // Who comes next tries again.
      if (this.state.error) this.#close();
      else this.#timer = setTimeout(() => this.#close(), LINGER);
    };
  }

  #close(): void {
    this.#giveUp.abort();
    this.#ended();
    this.state.doc?.close();
  }

  #set(state: OpenedDocument<D>): void {
    this.state = state;
    for (const listener of [...this.#listeners]) listener();
  }
}
