import type { Definition } from "../../worker/src/rpc.generated.ts";
import { OffprintError } from "./error.ts";
import type { Mutator, Select } from "./sql.ts";

/** Mutators by name. */
export type Mutators = Record<string, Mutator>;

// Known to every copy of this package, so that a definition bundled with one is a definition for another.
const DEFINITION = Symbol.for("offprint.definition");

/** What `defineDocument` makes: a document's schema and mutators, for both sides. */
export type DocumentDefinition<M extends Mutators = Mutators> = {
  readonly name: string;
  readonly migrations: readonly string[];
  readonly mutators: M;
};

export type DefinitionInput<M extends Mutators> = {
  /** 1 to 128 bytes; client and server compare it. */
  name: string;
  /** SQL scripts, each run once and in order. Append only. */
  migrations: readonly (string | Select<unknown>)[];
  mutators: M;
};

const bad = (message: string) => new OffprintError("bad_definition", message);

function migrationText(migration: unknown, at: number): string {
  const which = `migration ${at + 1}`;
  const text = typeof migration === "string" ? migration : (migration as Select | null)?.sql;
  if (typeof text !== "string") throw bad(`${which} is neither a string nor tagged with sql`);
  if (typeof migration !== "string" && (migration as Select).params.length > 0) {
    throw bad(`${which} has parameters; a migration is plain SQL`);
  }
  if (text.trim() === "") throw bad(`${which} is empty`);
  return text;
}

function checkMutator(name: string, mutator: unknown): Mutator {
  if (name === "") throw bad("a mutator has no name");
  if (typeof mutator === "function") {
    throw bad(`mutator ${name} is a function; mutators in TypeScript are not built yet, use sql.mutator`);
  }
  const text = (mutator as Mutator | null | undefined)?.sql;
  if (typeof text !== "string") throw bad(`mutator ${name} is not made with sql.mutator`);
  if (text.trim() === "") throw bad(`mutator ${name} is empty`);
  return mutator as Mutator;
}

/** Checks and freezes a definition, or throws `bad_definition`. */
export function defineDocument<const M extends Mutators>(input: DefinitionInput<M>): DocumentDefinition<M> {
  const { name, migrations, mutators } = input;
  if (typeof name !== "string" || name === "" || new TextEncoder().encode(name).length > 128) {
    throw bad("a definition's name is 1 to 128 bytes");
  }
  if (!Array.isArray(migrations)) throw bad("migrations is not an array");
  if (typeof mutators !== "object" || mutators === null) throw bad("mutators is not an object");
  const entries = Object.entries(mutators).map(([key, value]) => [key, checkMutator(key, value)] as const);
  const definition = {
    name,
    migrations: Object.freeze(migrations.map(migrationText)),
    mutators: Object.freeze(Object.fromEntries(entries)) as M,
  };
  Object.defineProperty(definition, DEFINITION, { value: true });
  return Object.freeze(definition);
}

/** Whether `defineDocument` made this. */
export function isDefinition(value: unknown): value is DocumentDefinition {
  return typeof value === "object" && value !== null && DEFINITION in value;
}

/** The definition as it crosses to the hub and as the server reads it. */
export function definitionData(definition: DocumentDefinition): Definition {
  const { name, migrations } = definition;
  const mutators = Object.entries(definition.mutators).map(([key, { sql }]) => [key, { sql }] as const);
  return { name, migrations: [...migrations], mutators: Object.fromEntries(mutators) };
}
