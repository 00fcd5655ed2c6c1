import assert from "node:assert/strict";
import { test } from "node:test";
import type { Reply, Request } from "../../worker/src/rpc.generated.ts";
import { OffprintError } from "./error.ts";
import { beginImport, type ImportSource } from "./import.ts";

const MIB = 1 << 20;
const file = (length: number) => Uint8Array.from({ length }, (_, at) => at % 249);

/** A hub that takes parts, until `failAt`. */
function hub(failAt = Number.POSITIVE_INFINITY) {
  const parts: { offset: number; bytes: Uint8Array; last: boolean }[] = [];
  const ask = async (request: Request): Promise<Reply> => {
    if (typeof request !== "object" || !("import" in request)) throw new Error("another request");
    if (parts.length === failAt) throw new OffprintError("exists", "there");
    parts.push(request.import);
    return "done";
  };
  return { parts, ask };
}

const chunked = (bytes: Uint8Array, size: number) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.subarray(at, at + size));
      controller.close();
    },
  });

for (const length of [1, MIB, MIB + 1, 3 * MIB]) {
  test(`a file of ${length} bytes arrives whole, from every kind of source`, async () => {
    const bytes = file(length);
    for (const source of [bytes, new Blob([bytes]), chunked(bytes, 700_001), chunked(bytes, 5 * MIB)]) {
      const { parts, ask } = hub();
      await (await beginImport({ ask }, source)).done;
      let at = 0;
      for (const { offset, bytes: part, last } of parts) {
        assert.equal(offset, at);
        assert.deepEqual(part, bytes.subarray(at, at + part.length));
        at += part.length;
        assert.equal(last, at === length);
      }
      assert.equal(at, length);
    }
  });
}

test("an empty file is one empty part, for the hub to judge", async () => {
  const { parts, ask } = hub();
  await (await beginImport({ ask }, new Uint8Array(0))).done;
  assert.deepEqual(parts, [{ offset: 0, bytes: new Uint8Array(0), last: true }]);
});

test("the first part is handed in before anything is awaited by the caller", async () => {
  const { parts, ask } = hub();
  await beginImport({ ask }, file(3 * MIB));
  assert.equal(parts[0]?.offset, 0);
});

test("what fails ends the reading, with its code", async () => {
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(MIB)),
    cancel: () => {
      cancelled = true;
    },
  });
  const { done } = await beginImport(hub(2), endless);
  await assert.rejects(done, { code: "exists" });
  assert.equal(cancelled, true);
  const broken = new ReadableStream<Uint8Array>({
    start: (controller) => controller.error(new Error("gone")),
  });
  await assert.rejects(beginImport(hub(), broken), { code: "bad_file" });
  await assert.rejects(beginImport(hub(), "file" as unknown as ImportSource), { code: "bad_argument" });
});
