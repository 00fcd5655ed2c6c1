import { useMemo, useSyncExternalStore } from "react";
import type { SqlValue } from "../../../worker/src/rpc.generated.ts";
import type { Document } from "../document.ts";
import type { AnyRow, Select } from "../sql.ts";

/** What a live query needs of a document, whatever its definition. */
type Subscribable = Pick<Document, "subscribe">;

type State<Row> = { rows: readonly Row[] | undefined; error: unknown };

/** A live query as a store: subscribed to while a component listens. */
class LiveRows<Row> {
  #state: State<Row> = { rows: undefined, error: undefined };
  readonly #doc: Subscribable | undefined;
  readonly #select: Select<Row>;

  constructor(doc: Subscribable | undefined, select: Select<Row>) {
    this.#doc = doc;
    this.#select = select;
  }

  readonly state = (): State<Row> => this.#state;

  readonly listen = (changed: () => void): (() => void) => {
    const set = (state: State<Row>) => {
      this.#state = state;
      changed();
    };
    if (!this.#doc) return () => undefined;
    try {
      return this.#doc.subscribe(
        this.#select,
        (rows) => set({ rows, error: undefined }),
        (error) => set({ rows: this.#state.rows, error }),
      );
    } catch (error) {
      set({ rows: this.#state.rows, error });
      return () => undefined;
    }
  };
}

const told = (value: SqlValue) =>
  value instanceof Uint8Array ? `x${value.join()}` : `${typeof value} ${String(value)}`;

const NOTHING = Object.freeze({ rows: undefined, error: undefined });

/** The rows of a live query; undefined until they are there. A statement that fails throws at its component. */
export function useQuery<Row = AnyRow>(
  doc: Subscribable | undefined,
  select: Select<Row>,
): readonly Row[] | undefined {
  const key = JSON.stringify([select.sql, ...select.params.map(told)]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key says what the statement is
  const live = useMemo(() => new LiveRows(doc, select), [doc, key]);
  const { rows, error } = useSyncExternalStore<State<Row>>(live.listen, live.state, () => NOTHING);
  if (error !== undefined) throw error;
  return rows;
}
