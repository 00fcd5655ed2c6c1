import { AbsentError, DocumentFiles } from "./document-files.ts";
import { carryOut } from "./files.ts";
import { holdLock, uniqueLock, whenFree } from "./lock.ts";
import { isQuota, messageOf, problem } from "./problem.ts";
import type { DiskBatch, FromDisk, ToDisk } from "./rpc.ts";

/** How long somebody else may hold the files before it is told. */
const PATIENCE = 5_000;

/** Holds a document's files for one hub, and does what it is told. */
export class DocumentDisk {
  readonly #port: MessagePort;
  readonly #ended: () => void;
  readonly #life = new AbortController();
  #files: DocumentFiles | undefined;

  constructor(port: MessagePort, ended: () => void) {
    this.#port = port;
    this.#ended = ended;
    port.onmessage = ({ data }: MessageEvent<ToDisk>) => this.#take(data);
  }

  #take(message: ToDisk): void {
    if (message === "close") this.#end();
    else if ("batch" in message) this.#run(message.batch);
    else this.#open(message.open.document, message.open.hubLock);
  }

  async #open(document: string, hubLock: string | null): Promise<void> {
    const { signal } = this.#life;
    // Both at once: the files take longer.
    holdLock(uniqueLock("disk")).then(({ name }) => this.#post({ here: { lock: name } }));
    if (hubLock !== null) whenFree(hubLock, signal, () => this.#end());
    const began = performance.now();
    let told = false;
    const held = () => {
      if (told || performance.now() - began < PATIENCE) return;
      told = true;
      this.#post({
        blocked: problem("blocked", "the document's files are held by another worker; still trying"),
      });
    };
    let files: DocumentFiles;
    try {
      files = await DocumentFiles.open(document, { signal, held });
    } catch (error) {
      if (signal.aborted) return;
      const message = messageOf(error);
      if (error instanceof AbsentError) this.#post({ absent: problem("storage_unavailable", message) });
      else if (isQuota(error)) {
        const full = `the device has no room for the document: ${message}`;
        this.#post({ failed: problem("quota", full) });
      } else this.#post({ failed: problem("storage_unavailable", message) });
      this.#end();
      return;
    }
    if (signal.aborted) files.close();
    else {
      this.#files = files;
      this.#post({ ready: { empty: files.empty } });
    }
  }

  async #run(batch: DiskBatch): Promise<void> {
    if (!this.#files || this.#life.signal.aborted) return;
    const outcome = await carryOut(this.#files, batch);
    if ("lost" in outcome) {
      this.#post(outcome);
      this.#end();
      return;
    }
    const { answer } = outcome;
    const bytes = "values" in answer ? answer.values.filter((value) => value instanceof Uint8Array) : [];
    this.#post(
      outcome,
      bytes.map(({ buffer }) => buffer),
    );
  }

  #post(message: FromDisk, transfer: Transferable[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #end(): void {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    this.#files?.close();
    this.#ended();
  }
}
