// What the kill loops count as durable: a word that was never sent would look like a lost write.
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { Reports } from "./lib/reports.mjs";

test("storage: a report that is cut in the middle of a word counts up to that word, and spoils no other", async () => {
  const reports = new Reports();
  const [killed, other] = [new PassThrough(), new PassThrough()];
  let whole = 0;
  for (const request of [killed, other]) reports.take(request, () => (whole += 1));
  const send = (request, text) => new Promise((resolve) => request.write(text, resolve));
  await send(killed, "a-0 a-");
  await send(other, "b-0 b");
  await send(killed, "1 a-");
  killed.destroy();
  await send(other, "-1 ");
  await new Promise((resolve) => other.end().on("close", resolve));
  assert.deepEqual(reports.words, ["a-0", "b-0", "a-1", "b-1"]);
  assert.equal(whole, 1);
});
