import assert from "node:assert/strict";
import { test } from "node:test";
import { sql } from "./sql.ts";

test("interpolated values become parameters", () => {
  const { sql: text, params } = sql`SELECT * FROM t WHERE a = ${1} AND b = ${"x'; DROP TABLE t"}`;
  assert.equal(text, "SELECT * FROM t WHERE a = ? AND b = ?");
  assert.deepEqual(params, [1, "x'; DROP TABLE t"]);
});

test("a parameter that SQLite cannot hold is refused by its position", () => {
  // @ts-expect-error the types say so as well
  assert.throws(() => sql`SELECT ${1}, ${undefined}`, { code: "bad_argument", message: /parameter 2/ });
});

test("a mutator's SQL takes no interpolation", () => {
  assert.equal(sql.mutator`DELETE FROM t WHERE id = :id`.sql, "DELETE FROM t WHERE id = :id");
  // @ts-expect-error the types say so as well
  assert.throws(() => sql.mutator`DELETE FROM t WHERE id = ${1}`, { code: "bad_definition" });
});
