import type { SqlValue } from "../../worker/src/rpc.generated.ts";
import { OffprintError } from "./error.ts";
import { checkValue } from "./value.ts";

/** What a cell of a result is: an INTEGER beyond 2^53 is a bigint. */
export type SqlCell = null | number | bigint | string | Uint8Array;

/** A row whose columns were not named by a type. */
export type AnyRow = Record<string, SqlCell>;

/** A read-only statement with its parameters; `Row` is what its author says the rows are. */
export type Select<Row = AnyRow> = {
  readonly sql: string;
  readonly params: readonly SqlValue[];
  /** Only for types; there is no such value. */
  readonly row?: Row;
};

/** A mutator as data: SQL with named parameters (`:name`), for arguments of type `Args`. */
export type Mutator<Args = unknown> = {
  readonly sql: string;
  /** Only for types; there is no such value. */
  readonly args?: Args;
};

type Sql = {
  /** A statement; each `${value}` becomes a parameter, so values never need quoting. */
  <Row = AnyRow>(strings: TemplateStringsArray, ...params: SqlValue[]): Select<Row>;
  /** A mutator in SQL: `:name` is an argument; nothing can be interpolated. */
  mutator<Args extends { [Name in keyof Args]: SqlValue } = Record<never, never>>(
    strings: TemplateStringsArray,
    ...nothing: never[]
  ): Mutator<Args>;
};

function partsOf(strings: TemplateStringsArray): readonly string[] {
  // Tagged templates give undefined for a part with an escape that JavaScript does not know.
  const parts: readonly (string | undefined)[] = strings;
  if (parts.includes(undefined)) {
    throw new OffprintError("sql", "a backslash in SQL is written \\\\ in a template");
  }
  return strings;
}

function select(strings: TemplateStringsArray, ...params: SqlValue[]): Select<never> {
  const checked = params.map((value, at) => checkValue(value, `parameter ${at + 1}`));
  return Object.freeze({ sql: partsOf(strings).join("?"), params: Object.freeze(checked) });
}

function mutator(strings: TemplateStringsArray, ...values: never[]): Mutator<never> {
  if (values.length > 0) {
    throw new OffprintError(
      "bad_definition",
      "a mutator's SQL takes its values as :name, not by interpolation",
    );
  }
  return Object.freeze({ sql: partsOf(strings).join("") });
}

/** Tags SQL: a statement for `query` and `subscribe`, a migration, or (`sql.mutator`) a mutator. */
export const sql = Object.assign(select, { mutator }) as Sql;
