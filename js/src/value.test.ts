import assert from "node:assert/strict";
import { test } from "node:test";
import { OffprintError } from "./error.ts";
import { checkArgs } from "./value.ts";

test("values that SQLite has pass", () => {
  const args = {
    a: null,
    b: 1.5,
    c: 2n ** 63n - 1n,
    d: "\u{1f600}",
    e: false,
    f: Uint8Array.of(1),
    g: Infinity,
  };
  assert.deepEqual({ ...checkArgs("m", args) }, args);
  assert.deepEqual(checkArgs("m", undefined), {});
});

test("what SQLite has not is refused, and the argument named", () => {
  const bad = [
    undefined,
    () => 1,
    {},
    [],
    Symbol("x"),
    Number.NaN,
    2n ** 63n,
    "\ud800",
    new Date(),
    new ArrayBuffer(1),
  ];
  for (const value of [...bad, new Float32Array(1)]) {
    assert.throws(
      () => checkArgs("rename", { id: "1", title: value }),
      (error) =>
        error instanceof OffprintError &&
        error.code === "bad_argument" &&
        /rename: argument title /.test(error.message),
      String(typeof value),
    );
  }
  for (const args of [null, 1, "x", []]) {
    assert.throws(() => checkArgs("rename", args), { code: "bad_argument" });
  }
});

test("bytes are taken as they are now, and without the buffer around them", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const { b } = checkArgs("m", { b: bytes.subarray(1) });
  bytes[1] = 9;
  assert.deepEqual(b, Uint8Array.of(2, 3));
  assert.equal((b as Uint8Array).buffer.byteLength, 2);
});
