import { DocumentFiles, whyAbsent } from "./document-files.ts";
import { holdLock, uniqueLock, whenFree } from "./lock.ts";
import { isHeld, isQuota, messageOf, problem } from "./problem.ts";
import type { DiskBatch, DiskValue, FromDisk, ToDisk } from "./rpc.ts";

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

  async #open(document: string, hubLock: string): Promise<void> {
    const { signal } = this.#life;
    // Both at once: the files take longer.
    holdLock(uniqueLock("disk")).then(({ name }) => this.#post({ here: { lock: name } }));
    whenFree(hubLock, signal, () => this.#end());
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
      const absent = isQuota(error)
        ? problem("quota", `the device has no room for the document: ${messageOf(error)}`)
        : problem("storage_unavailable", whyAbsent(error));
      this.#post({ absent });
      this.#end();
      return;
    }
    if (signal.aborted) files.close();
    else {
      this.#files = files;
      this.#post({ ready: { kind: "opfs", durable: true, reason: null } });
    }
  }

  #run({ no, ops }: DiskBatch): void {
    if (!this.#files) return;
    const values: DiskValue[] = [];
    const transfer: Transferable[] = [];
    try {
      for (const op of ops) {
        const value = this.#files.run(op);
        values.push(value);
        if (value instanceof Uint8Array) transfer.push(value.buffer);
      }
    } catch (error) {
      this.#failed(no, error);
      return;
    }
    this.#post({ answer: { no, values } }, transfer);
  }

  #failed(no: number, error: unknown): void {
    if (isHeld(error)) {
      // The browser took the handles away; the next disk is given the same batch.
      this.#post({ lost: problem("disk", `the document's files were taken away: ${messageOf(error)}`) });
      this.#end();
    } else if (isQuota(error)) {
      this.#post({ answer: { no, problem: problem("quota", `the device is full: ${messageOf(error)}`) } });
    } else {
      this.#post({ answer: { no, problem: problem("disk", messageOf(error)) } });
    }
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
