import type { Rejection, Select as RpcSelect, Status } from "../../worker/src/rpc.generated.ts";
import type { Attachment } from "./attachment.ts";
import type { DocumentDefinition } from "./definition.ts";
import type { OffprintError } from "./error.ts";
import { type Export, type ExportOptions, exportDocument } from "./export.ts";
import { decodeRows } from "./rows.ts";
import type { AnyRow, Mutator, Select } from "./sql.ts";
import type { Write } from "./write.ts";

type ArgsOf<M> = M extends Mutator<infer Args> ? Args : never;

/** A definition's mutators as functions; one without arguments needs none. */
export type Mutate<D extends DocumentDefinition> = {
  readonly [Name in keyof D["mutators"]]: Record<never, never> extends ArgsOf<D["mutators"][Name]>
    ? (args?: ArgsOf<D["mutators"][Name]>) => Write
    : (args: ArgsOf<D["mutators"][Name]>) => Write;
};

const rpcSelect = ({ sql, params }: Select<unknown>): RpcSelect => ({ sql, params: [...params] });

/** An open document: one SQLite database, shared by every tab of the origin. */
export class Document<D extends DocumentDefinition = DocumentDefinition> {
  readonly id: string;
  readonly definition: D;
  /** The definition's mutators: each gives a `Write` to await, and fails by rejecting it. */
  readonly mutate: Mutate<D>;
  readonly #attachment: Attachment;

  /** @internal */
  constructor(id: string, definition: D, attachment: Attachment) {
    this.id = id;
    this.definition = definition;
    this.#attachment = attachment;
    const names = Object.keys(definition.mutators);
    const run = (name: string) => (args?: unknown) => attachment.mutate(name, args);
    this.mutate = Object.freeze(Object.fromEntries(names.map((name) => [name, run(name)]))) as Mutate<D>;
  }

  /** The rows of a read-only statement, once. */
  async query<Row = AnyRow>(select: Select<Row>): Promise<readonly Row[]> {
    const reply = await this.#attachment.ask({ query: rpcSelect(select) });
    if (typeof reply !== "object" || !("rows" in reply)) return [];
    return decodeRows(reply.rows) as readonly Row[];
  }

  /**
   * Calls back with the rows of a read-only statement, now and whenever they have changed; rows that did not change
   * are the same objects as before. Returns what ends it. An error without `onError` is reported to the page.
   */
  subscribe<Row = AnyRow>(
    select: Select<Row>,
    onRows: (rows: readonly Row[]) => void,
    onError: (error: OffprintError) => void = reportError,
  ): () => void {
    const deliver = onRows as (rows: readonly AnyRow[]) => void;
    return this.#attachment.subscribe(rpcSelect(select), deliver, onError);
  }

  /** How the document stands: a new object whenever it changes. */
  get status(): Status {
    return this.#attachment.status;
  }

  /** Calls back whenever the status changes. Returns what ends it. */
  onStatus(listener: (status: Status) => void): () => void {
    return this.#attachment.onStatus(listener);
  }

  /** Mutations that the server refused and the app has neither dismissed nor retried, oldest first. */
  get rejections(): readonly Rejection[] {
    return this.status.rejections;
  }

  /** Drops a rejection that the app has dealt with. */
  async dismiss(seq: number): Promise<void> {
    await this.#attachment.ask({ dismiss: { seq } });
  }

  /**
   * Makes a rejected mutation once more, with the same arguments, as a new one that takes the rejection's place. If it fails
   * here, the rejection stays; `dismissed` says that there is none any more.
   */
  retry(seq: number): Write {
    return this.#attachment.retry(seq);
  }

  /**
   * Tries the server now instead of at the end of the back-off, and asks one that seems to be connected for a sign of life;
   * happens by itself when the page comes online or is looked at again.
   */
  async reconnect(): Promise<void> {
    await this.#attachment.ask("reconnect");
  }

  /** The document as a plain SQLite file, in one state: what is visible, or what is confirmed. */
  async export(options: ExportOptions = {}): Promise<Export> {
    return exportDocument(this.#attachment, options);
  }

  /** Ends this tab's use of the document; what is still open settles with `closed`. May be called again. */
  close(): Promise<void> {
    return this.#attachment.close();
  }
}
