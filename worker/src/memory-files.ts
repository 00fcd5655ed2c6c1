import type { Files } from "./files.ts";
import type { DiskOp, DiskValue, FileName } from "./rpc.ts";

/** A document's files in this worker's memory: they go with it. */
export class MemoryFiles implements Files {
  readonly #files = new Map<FileName, { bytes: Uint8Array<ArrayBuffer>; size: number }>();

  get empty(): boolean {
    return !this.#files.get("head")?.size;
  }

  run(ops: readonly DiskOp[]): DiskValue[] {
    return ops.map((op) => this.#run(op));
  }

  close(): void {
    this.#files.clear();
  }

  #run(op: DiskOp): DiskValue {
    const file = this.#files.get(op.file) ?? { bytes: new Uint8Array(), size: 0 };
    this.#files.set(op.file, file);
    const reach = (size: number) => {
      if (size > file.bytes.length) {
        const bytes = new Uint8Array(Math.max(size, 2 * file.bytes.length));
        bytes.set(file.bytes.subarray(0, file.size));
        file.bytes = bytes;
      }
      file.size = Math.max(file.size, size);
    };
    switch (op.op) {
      case "size":
        return file.size;
      case "read":
        return file.bytes.slice(Math.min(op.offset, file.size), Math.min(op.offset + op.len, file.size));
      case "write":
        if (op.bytes.length > 0) reach(op.offset + op.bytes.length);
        file.bytes.set(op.bytes, op.bytes.length > 0 ? op.offset : 0);
        return null;
      case "grow":
        reach(op.to);
        return null;
      case "truncate":
        if (file.size > op.to) {
          file.bytes = file.bytes.slice(0, op.to);
          file.size = op.to;
        }
        return null;
      case "flush":
        return null;
    }
  }
}
