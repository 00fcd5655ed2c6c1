import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type DefinitionInput,
  defineDocument,
  definitionData,
  isDefinition,
  type Mutators,
} from "./definition.ts";
import { sql } from "./sql.ts";

const good = {
  name: "todos",
  migrations: [sql`CREATE TABLE todo (id TEXT)`, "CREATE INDEX i ON todo (id)"],
  mutators: { add: sql.mutator<{ id: string }>`INSERT INTO todo VALUES (:id)` },
};

test("a definition is data for the server and the hub", () => {
  const definition = defineDocument(good);
  assert.ok(isDefinition(definition) && !isDefinition(good) && !isDefinition(null));
  assert.deepEqual(JSON.parse(JSON.stringify(definitionData(definition))), {
    name: "todos",
    migrations: ["CREATE TABLE todo (id TEXT)", "CREATE INDEX i ON todo (id)"],
    mutators: { add: { sql: "INSERT INTO todo VALUES (:id)" } },
  });
});

test("a definition that cannot work is refused with bad_definition", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ name: "" }, /name/],
    [{ name: "ü".repeat(65) }, /name/],
    [{ migrations: ["CREATE TABLE t (a)", " \n"] }, /migration 2 is empty/],
    [{ migrations: [sql`SELECT ${1}`] }, /migration 1 has parameters/],
    [{ migrations: [1] }, /migration 1/],
    [{ migrations: undefined }, /migrations/],
    [{ mutators: { toggle() {} } }, /toggle is a function.*not built yet/],
    [{ mutators: { add: "INSERT" } }, /add is not made with sql.mutator/],
    [{ mutators: { add: sql.mutator` ` } }, /add is empty/],
    [{ mutators: null }, /mutators/],
  ];
  for (const [change, message] of cases) {
    const input = { ...good, ...change } as unknown as DefinitionInput<Mutators>;
    assert.throws(() => defineDocument(input), { code: "bad_definition", message });
  }
});
