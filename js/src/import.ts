import type { Attachment } from "./attachment.ts";
import { OffprintError } from "./error.ts";

/** A plain SQLite file. */
export type ImportSource = Blob | Uint8Array | ReadableStream<Uint8Array>;

const PART = 1 << 20;

function streamOf(source: ImportSource): ReadableStream<Uint8Array> {
  if (source instanceof ReadableStream) return source;
  if (source instanceof Blob) return source.stream();
  if (source instanceof Uint8Array) return new Blob([source as Uint8Array<ArrayBuffer>]).stream();
  throw new OffprintError(
    "bad_argument",
    "import takes a Blob, a Uint8Array or a ReadableStream of Uint8Array",
  );
}

/** The bytes of a stream in parts of one size; the last may be shorter. */
async function* partsOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const reader = stream.getReader();
  let part = new Uint8Array(PART);
  let filled = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw new OffprintError("bad_file", "the file to import could not be read", { cause });
      });
      if (done) break;
      for (let from = 0; from < value.length; ) {
        const taken = value.subarray(from, from + PART - filled);
        part.set(taken, filled);
        filled += taken.length;
        from += taken.length;
        if (filled < PART) continue;
        yield part;
        part = new Uint8Array(PART);
        filled = 0;
      }
    }
    if (filled > 0) yield part.slice(0, filled);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/**
 * Reads the file's beginning and hands it in; to be awaited before the hub is called, so that the hub knows of the
 * import before it opens the document. `done` resolves when the document is the file, durably.
 */
export async function beginImport(
  attachment: Pick<Attachment, "ask">,
  source: ImportSource,
): Promise<{ done: Promise<void> }> {
  const parts = partsOf(streamOf(source));
  let bytes = (await parts.next()).value ?? new Uint8Array(0);
  let next = await parts.next();
  let offset = 0;
  const ask = () => attachment.ask({ import: { offset, bytes, last: next.done === true } });
  const first = ask();
  const rest = async () => {
    try {
      await first;
      while (next.value) {
        offset += bytes.length;
        bytes = next.value;
        next = await parts.next();
        await ask();
      }
    } finally {
      await parts.return();
    }
  };
  const done = rest();
  done.catch(() => undefined);
  return { done };
}
