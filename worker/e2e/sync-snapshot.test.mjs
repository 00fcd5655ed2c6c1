// A large document comes over HTTP: with progress, through a connection that is cut, and while everybody edits.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { random, seed } from "../../demo/e2e/lib/random.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { Detour } from "./lib/detour.mjs";
import { add, evaluate, notes, open, says } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const ROWS = 8;
const everything = Number.POSITIVE_INFINITY;

describe(`a large document of the server, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-snapshot-"));
  const choose = random(seed);
  let tabs;
  let server;
  let detour;

  before(async () => {
    server = await new Server(writeDefinition(folder)).start();
    tabs = await Tabs.start();
  });
  afterEach(async () => {
    await tabs.closeTabs();
    await detour?.close();
  });
  after(async () => {
    await tabs?.end();
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  async function write(id, note, text) {
    const answer = await fetch(`http://127.0.0.1:${server.port}/documents/${id}/mutations`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ client: "maker", name: "add", args: { id: note, tab: text } }),
    });
    assert.equal((await answer.json()).status, "confirmed");
  }

  /** A document of some mebibytes that do not compress well. */
  async function makeLarge() {
    const id = tabs.fresh();
    for (let row = 0; row < ROWS; row += 1) {
      const text = Array.from({ length: 60_000 }, () => choose.below(2 ** 30).toString(36)).join("");
      await write(id, `row ${row}`, text);
    }
    return id;
  }

  const status = (page) => evaluate(page, () => window.doc.status);
  const online = (page) => says(page, { connection: "online" });
  const downloads = async (page) => {
    const all = await evaluate(page, () => window.statuses.map((status) => status.download));
    return all.filter((download) => download !== null);
  };

  test("sync: a large document comes with progress while both sides edit", async () => {
    const id = await makeLarge();
    detour = await Detour.start(server.port, () => ({ hold: 600_000 }));
    const page = await tabs.tab();
    assert.equal(await open(page, id, { server: detour.url }), "open");
    const { total } = await until("some has come", async () => {
      const { download } = await status(page);
      return download && download.done > 100_000 ? download : { not: await status(page) };
    });
    await add(page, "mine", "durable");
    await write(id, "theirs", "x");
    assert.deepEqual(await notes(page), ["mine"]);
    assert.equal((await status(page)).connection, "connecting");
    detour.release();
    await online(page);
    const rows = Array.from({ length: ROWS }, (_, row) => `row ${row}`);
    await until("all is there", async () => (await notes(page)).length === ROWS + 2);
    assert.deepEqual((await notes(page)).toSorted(), ["mine", ...rows, "theirs"]);
    await until("nothing is pending", async () => (await status(page)).pending === 0);
    const told = await downloads(page);
    assert.ok(told.length > 1 && told.every((one) => one.total === total), JSON.stringify(told));
    assert.ok(told.every(({ done }, at) => at === 0 || done >= told[at - 1].done));
    assert.equal((await status(page)).download, null);
    assert.equal(detour.requests.length, 1);
    assert.match(detour.requests[0], /accept-encoding:.*(zstd|gzip)/i);
  });

  test("sync: a large document goes on where it was cut off, however often", async (t) => {
    t.diagnostic(`seed ${seed}`);
    const id = await makeLarge();
    let cuts = 0;
    detour = await Detour.start(server.port, () => {
      cuts += 1;
      return cuts > 6 ? everything : 120_000 + choose.below(280_000);
    });
    const page = await tabs.tab();
    assert.equal(await open(page, id, { server: detour.url }), "open");
    await online(page);
    assert.equal((await notes(page)).length, ROWS);
    assert.ok(cuts > 6, `${cuts} requests`);
    const from = detour.requests.map((request) => Number(/range: bytes=(\d+)-/i.exec(request)?.[1] ?? 0));
    assert.ok(from.every((first, at) => at === 0 || first >= from[at - 1]) && from.at(-1) > 0, `${from}`);
    await add(page, "afterwards", "confirmed");
  });

  test("sync: a large document comes over the websocket where it does not come over HTTP", async () => {
    const id = await makeLarge();
    detour = await Detour.start(server.port, () => 1);
    const page = await tabs.tab();
    assert.equal(await open(page, id, { server: detour.url }), "open");
    await add(page, "mine", "durable");
    await online(page);
    await until("all is there", async () => (await notes(page)).length === ROWS + 1);
    assert.equal((await status(page)).download, null);
  });
});
