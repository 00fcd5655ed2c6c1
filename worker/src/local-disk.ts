import { carryOut, type Files } from "./files.ts";
import { Failure, isQuota, messageOf, problem } from "./problem.ts";
import type { Problem } from "./rpc.generated.ts";
import type { DiskAnswer, DiskBatch } from "./rpc.ts";

/** How long after its files were taken away they are opened again. */
const PAUSE = 250;

export type LocalDiskHandlers = {
  /** Opens the files; `gone` is for when the browser takes them away. */
  open: (gone: () => void) => Promise<Files>;
  ready: (empty: boolean) => void;
  answer: (answer: DiskAnswer) => void;
  /** The files are closed; they are opened again by themselves. */
  lost: (why: Problem) => void;
  /** The files cannot be opened. */
  absent: (why: Problem) => void;
};

/** A disk in the hub itself: no tab has to lend it. */
export class LocalDisk {
  readonly #handlers: LocalDiskHandlers;
  #files: Files | undefined;
  #opening = false;
  #unanswered = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  constructor(handlers: LocalDiskHandlers) {
    this.#handlers = handlers;
  }

  /** Whether no answer is owed. */
  get idle(): boolean {
    return !this.#unanswered;
  }

  want(): void {
    if (this.#ended || this.#files || this.#opening) return;
    clearTimeout(this.#timer);
    this.#opening = true;
    this.#open().finally(() => {
      this.#opening = false;
    });
  }

  async give(batch: DiskBatch): Promise<void> {
    const files = this.#files;
    if (!files) return;
    this.#unanswered = true;
    const outcome = await carryOut(files, batch);
    if (this.#files !== files) return;
    this.#unanswered = false;
    if ("answer" in outcome) this.#handlers.answer(outcome.answer);
    else this.#lost(outcome.lost);
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  async #open(): Promise<void> {
    let opened: Files | undefined;
    const gone = () => {
      if (opened && this.#files === opened) {
        this.#lost(problem("storage_cleared", "the browser took the document's storage away"));
      }
    };
    try {
      opened = await this.#handlers.open(gone);
    } catch (error) {
      if (this.#ended) return;
      const code = isQuota(error) ? "quota" : "storage_unavailable";
      this.#handlers.absent(error instanceof Failure ? error.problem : problem(code, messageOf(error)));
      return;
    }
    if (this.#ended) opened.close();
    else {
      this.#files = opened;
      this.#handlers.ready(opened.empty);
    }
  }

  #lost(why: Problem): void {
    this.#drop();
    this.#handlers.lost(why);
    this.#timer = setTimeout(() => this.want(), PAUSE);
  }

  #drop(): void {
    this.#files?.close();
    this.#files = undefined;
    this.#unanswered = false;
  }
}
