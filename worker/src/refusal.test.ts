import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal } from "./refusal.ts";
import type { Hello } from "./rpc.ts";

const hello: Hello = {
  rpc: [1, 1],
  tab: "0".repeat(32),
  lock: "offprint|tab|0",
  document: "a",
  definition: { name: "d", migrations: ["M"], mutators: { a: { sql: "A" }, b: { sql: "B" } } },
  server: null,
  auth: false,
  visible: true,
  awake: true,
  memory: false,
  wasmUrl: null,
};

test("a tab that agrees with the first is served", () => {
  assert.equal(refusal(hello, undefined), undefined);
  const mutators = { b: { sql: "B" }, a: { sql: "A" } };
  assert.equal(refusal({ ...hello, definition: { ...hello.definition, mutators } }, hello), undefined);
});

test("a tab that does not is refused with the code of what differs", () => {
  const { definition } = hello;
  const cases: [Partial<Hello>, string][] = [
    [{ rpc: [2, 3] }, "unsupported_version"],
    [{ definition: { ...definition, migrations: ["M", "N"] } }, "definition_mismatch"],
    [
      { definition: { ...definition, mutators: { a: { sql: "A" }, b: { sql: "C" } } } },
      "definition_mismatch",
    ],
    [{ definition: { ...definition, mutators: {} } }, "definition_mismatch"],
    [{ server: "ws://localhost" }, "bad_state"],
    [{ document: "b" }, "bad_state"],
  ];
  for (const [change, code] of cases) assert.equal(refusal({ ...hello, ...change }, hello)?.code, code);
});
