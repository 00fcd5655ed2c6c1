import assert from "node:assert/strict";
import { test } from "node:test";
import type { Reply, Request } from "../../worker/src/rpc.generated.ts";
import { OffprintError } from "./error.ts";
import { exportDocument } from "./export.ts";

const PART = 1000;

/** A hub with a file of `size` bytes, which is gone at part `goneAt`. */
function hub(size: number, goneAt = Number.POSITIVE_INFINITY) {
  const file = Uint8Array.from({ length: size }, (_, at) => at % 251);
  const asked: Request[] = [];
  const ask = async (request: Request): Promise<Reply> => {
    asked.push(request);
    if (typeof request !== "object") return "done";
    if ("export" in request) return { export: { export: 7, lsn: 3, size } };
    if (!("exportPart" in request)) return "done";
    const { part } = request.exportPart;
    if (part >= goneAt) throw new OffprintError("closed", "gone");
    return { part: file.slice(part * PART, (part + 1) * PART) };
  };
  const parts = () => asked.filter((one) => typeof one === "object" && "exportPart" in one).length;
  const ends = () => asked.filter((one) => typeof one === "object" && "endExport" in one);
  return { file, asked, ask, parts, ends };
}

test("the parts make the file, with progress, and then it ends", async () => {
  const from = hub(2500);
  const progress: number[] = [];
  const { lsn, size, blob } = await exportDocument(from, {
    confirmed: true,
    onProgress: ({ done, total }) => {
      assert.equal(total, 2500);
      progress.push(done);
    },
  });
  assert.deepEqual([lsn, size], [3, 2500]);
  assert.deepEqual(new Uint8Array(await (await blob()).arrayBuffer()), from.file);
  assert.deepEqual(progress, [1000, 2000, 2500]);
  assert.deepEqual(from.asked[0], { export: { confirmed: true } });
  assert.deepEqual(from.ends(), [{ endExport: { export: 7 } }]);
});

test("no more is asked for than is read", async () => {
  const from = hub(100 * PART);
  const { stream } = await exportDocument(from, {});
  const reader = stream.getReader();
  for (let read = 1; read <= 3; read += 1) {
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(from.parts(), read + 1);
  }
  await reader.cancel();
  assert.equal(from.ends().length, 1);
});

test("an export whose hub is gone fails with its code", async () => {
  const { blob } = await exportDocument(hub(5 * PART, 2), {});
  await assert.rejects(blob(), { code: "closed" });
});

test("an empty document is an empty file", async () => {
  const from = hub(0);
  const { blob } = await exportDocument(from, {});
  assert.equal((await blob()).size, 0);
  assert.equal(from.ends().length, 1);
});
