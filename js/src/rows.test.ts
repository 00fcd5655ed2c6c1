import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeRows, RowDecoder } from "./rows.ts";

type Cell = null | number | bigint | { real: number } | string | Uint8Array;

function varint(out: number[], value: bigint): void {
  for (; value >= 0x80n; value >>= 7n) out.push(Number(value & 0x7fn) | 0x80);
  out.push(Number(value));
}

function bytesOf(out: number[], bytes: Uint8Array): void {
  varint(out, BigInt(bytes.length));
  out.push(...bytes);
}

/** Rows as PROTOCOL.md writes them, made here a second time so that the reader is not its own judge. */
function encode(names: string[], rows: Cell[][]): Uint8Array<ArrayBuffer> {
  const out: number[] = [];
  const text = (value: string) => bytesOf(out, new TextEncoder().encode(value));
  varint(out, BigInt(names.length));
  names.forEach(text);
  varint(out, BigInt(rows.length));
  for (const cell of rows.flat()) {
    if (cell === null) out.push(0);
    else if (typeof cell === "number" || typeof cell === "bigint") {
      out.push(1);
      const value = BigInt(cell);
      varint(out, value >= 0n ? value * 2n : -value * 2n - 1n);
    } else if (typeof cell === "string") {
      out.push(3);
      text(cell);
    } else if (cell instanceof Uint8Array) {
      out.push(4);
      bytesOf(out, cell);
    } else {
      out.push(2, ...new Uint8Array(Float64Array.of(cell.real).buffer));
    }
  }
  return Uint8Array.from(out);
}

test("every kind of cell is decoded", () => {
  const rows = decodeRows(
    encode(["a", "b", "c", "d", "e"], [[null, -7, { real: 0.5 }, "ü\u{1f600}", Uint8Array.of(0, 255)]]),
  );
  assert.deepEqual(rows, [{ a: null, b: -7, c: 0.5, d: "ü\u{1f600}", e: Uint8Array.of(0, 255) }]);
});

test("integers are numbers while they are exact and bigints beyond", () => {
  const safe = 2n ** 53n - 1n;
  const numbers = [0n, 1n, -1n, 63n, 64n, -64n, -65n, 2n ** 31n, 2n ** 52n, -(2n ** 52n), safe, -safe];
  for (const value of numbers) assert.deepEqual(decodeRows(encode(["n"], [[value]])), [{ n: Number(value) }]);
  for (const value of [safe + 1n, -safe - 1n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    assert.deepEqual(decodeRows(encode(["n"], [[value]])), [{ n: value }]);
  }
});

test("text that is not UTF-8 does not hide the other rows", () => {
  const bytes = encode(["t"], [["x"], ["fine"]]);
  bytes[bytes.indexOf("x".charCodeAt(0))] = 0xff;
  assert.deepEqual(decodeRows(bytes), [{ t: "\ufffd" }, { t: "fine" }]);
});

test("a byte order mark is text", () => {
  assert.deepEqual(decodeRows(encode(["t"], [["\ufeffx"]])), [{ t: "\ufeffx" }]);
});

test("a result without rows, and one without columns", () => {
  assert.deepEqual(decodeRows(encode(["a"], [])), []);
  assert.deepEqual(decodeRows(encode([], [[], []])), [{}, {}].slice(0, 2));
});

test("a column called __proto__ is a column", () => {
  const [row] = decodeRows(encode(["__proto__"], [[1]]));
  assert.deepEqual(Object.entries(row ?? {}), [["__proto__", 1]]);
});

test("rows in a view that does not start at its buffer's start are decoded", () => {
  const bytes = encode(["a"], [[{ real: 1.5 }]]);
  const padded = new Uint8Array(bytes.length + 3);
  padded.set(bytes, 3);
  assert.deepEqual(decodeRows(padded.subarray(3)), [{ a: 1.5 }]);
});

test("rows that did not change are the same objects in the next delivery", () => {
  const decoder = new RowDecoder();
  const row = (id: number, title: string): Cell[] => [id, title];
  const [a, b, c] = decoder.decode(encode(["id", "t"], [row(1, "a"), row(2, "b"), row(3, "c")]));
  const inserted = decoder.decode(
    encode(["id", "t"], [row(1, "a"), row(9, "new"), row(2, "b"), row(3, "c")]),
  );
  assert.deepEqual(inserted[1], { id: 9, t: "new" });
  assert.ok(inserted[0] === a && inserted[2] === b && inserted[3] === c);
  const changed = decoder.decode(encode(["id", "t"], [row(1, "A"), row(9, "new"), row(2, "b"), row(3, "C")]));
  assert.ok(changed[1] === inserted[1] && changed[2] === b);
  assert.ok(changed[0] !== a && changed[3] !== c);
  assert.deepEqual(decoder.decode(encode(["id", "t"], [row(2, "b")])), [{ id: 2, t: "b" }]);
});

test("equal bytes under other column names are other rows", () => {
  const decoder = new RowDecoder();
  const [before] = decoder.decode(encode(["a"], [[1]]));
  const [after] = decoder.decode(encode(["b"], [[1]]));
  assert.deepEqual([before, after], [{ a: 1 }, { b: 1 }]);
});
