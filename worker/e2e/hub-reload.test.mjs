// A page is reloaded in the middle of writing, again and again.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { random, seed } from "../../demo/e2e/lib/random.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { evaluate, notes, open, says, wrong } from "./lib/notes.mjs";
import { keepWriting, receipts } from "./lib/receipts.mjs";
import { Tabs } from "./lib/tabs.mjs";

const RELOADS = 6;
const right = { lost: [], holes: [], twice: 0 };

describe(`reloading a page that writes, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-reload-"));
  const choose = random(seed);
  let tabs;
  let server;

  before(async () => {
    server = await new Server(writeDefinition(folder)).start();
    tabs = await Tabs.start();
  });
  after(async () => {
    await tabs?.end();
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Reloads the page while it writes; another tab has the document, too, or the hub goes with the page. */
  async function reloaded(t, site, options) {
    t.diagnostic(`seed ${seed}`);
    const id = tabs.fresh();
    const page = await tabs.tab(site);
    for (let time = 0; time < RELOADS; time += 1) {
      assert.equal(await open(page, id, options), "open");
      const before = await receipts(page, id);
      assert.deepEqual(await wrong(page, before), right, `before reload ${time}`);
      const other = choose.chance(0.5) ? await tabs.tab(site) : undefined;
      if (other) assert.equal(await open(other, id, options), "open");
      await keepWriting(page, `reload-${time}`);
      await until("it writes", async () => (await receipts(page, id)).length > before.length);
      await delay(choose.below(100));
      await tabs.reload(page);
      await other?.close();
    }
    assert.equal(await open(page, id, options), "open");
    const durable = await receipts(page, id);
    assert.deepEqual(await wrong(page, durable), right);
    t.diagnostic(`${durable.length} durable`);
    return { id, page, durable };
  }

  for (const [site, kind] of [
    ["a", "opfs"],
    ["absent", "indexedDb"],
  ]) {
    test(`storage: ${RELOADS} reloads keep in ${kind} what was durable, each write once`, async (t) => {
      await reloaded(t, site);
      await tabs.closeTabs();
    });
  }

  test(`sync: ${RELOADS} reloads give the server what was durable, each write once`, async (t) => {
    const { id, page, durable } = await reloaded(t, "a", { server: server.url });
    await says(page, { connection: "online", pending: 0 });
    assert.deepEqual(await evaluate(page, () => window.doc.rejections), []);
    assert.deepEqual(await wrong(page, durable), right);
    assert.deepEqual(await server.column(id, "SELECT id FROM note ORDER BY rowid"), await notes(page));
    await tabs.closeTabs();
  });
});
