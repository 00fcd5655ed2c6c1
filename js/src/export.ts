import type { Progress } from "../../worker/src/rpc.generated.ts";
import type { Attachment } from "./attachment.ts";
import { OffprintError } from "./error.ts";
import { attempt } from "./subscriptions.ts";

export type ExportOptions = {
  /** Only what the server has confirmed, without what is pending. */
  confirmed?: boolean | undefined;
  /** Called after each part, in bytes. */
  onProgress?: ((progress: Progress) => void) | undefined;
};

/** A document as a plain SQLite file, in one state, whatever happens to it meanwhile. */
export interface Export {
  /** The last commit of the server that is in it. */
  readonly lsn: number;
  /** The file's size in bytes. */
  readonly size: number;
  /** The file, as fast as it is read; to be read to its end, or cancelled. */
  readonly stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** The whole file, instead of the stream. */
  blob(): Promise<Blob>;
}

/** Begins an export; the hub keeps its state until the stream has ended. */
export async function exportDocument(
  attachment: Pick<Attachment, "ask">,
  { confirmed = false, onProgress }: ExportOptions,
): Promise<Export> {
  const reply = await attachment.ask({ export: { confirmed } });
  if (typeof reply !== "object" || !("export" in reply)) throw unexpected();
  const { export: number, lsn, size } = reply.export;
  const end = () => {
    attachment.ask({ endExport: { export: number } }).catch(() => undefined);
  };
  let part = 0;
  let done = 0;
  let failure: unknown;
  const next = async () => {
    const reply = await attachment.ask({ exportPart: { export: number, part } });
    if (typeof reply === "object" && "part" in reply && reply.part.length > 0) return reply.part;
    throw unexpected();
  };
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>) => {
    if (done < size) {
      const bytes = await next().catch((error: unknown) => {
        failure = error;
        throw error;
      });
      part += 1;
      done += bytes.length;
      controller.enqueue(bytes);
      if (onProgress) attempt(() => onProgress({ done, total: size }));
    }
    if (done < size) return;
    end();
    controller.close();
  };
  const stream = new ReadableStream({ pull, cancel: end });
  const blob = () =>
    new Response(stream, { headers: { "content-type": "application/vnd.sqlite3" } })
      .blob()
      .catch((error: unknown) => {
        // A browser's own error does not say why the stream failed.
        throw failure ?? error;
      });
  return { lsn, size, stream, blob };
}

const unexpected = () =>
  new OffprintError("internal", "BUG: the worker gave another answer than was asked for");
