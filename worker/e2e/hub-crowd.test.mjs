// Many tabs of one profile open the same document at the same moment.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { add, evaluate, hubs, notes, open, says } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const TABS = 6;

describe(`tabs that open a document at once, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-crowd-"));
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

  /** Opens a document in many tabs at once, which write as soon as they have it; gives the tabs and what they wrote. */
  async function crowd(site, id, prefix) {
    const pages = [];
    for (let at = 0; at < TABS; at += 1) pages.push(await tabs.tab(site));
    const opened = await Promise.all(pages.map((page) => open(page, id, { server: server.url })));
    assert.deepEqual(opened, Array(TABS).fill("open"));
    const written = pages.map((_, at) => `${prefix}-${at}`);
    await Promise.all(pages.map((page, at) => add(page, written[at])));
    await until("there is one hub", async () => {
      const living = await hubs(pages[0]);
      return living.length === 1 || { not: living };
    });
    return { pages, written };
  }

  /** Waits until every tab has these notes, each once, in one order. */
  async function agree(pages, expected) {
    const all = await Promise.all(pages.map(notes));
    assert.deepEqual(all[0].toSorted(), expected.toSorted());
    for (const rows of all) assert.deepEqual(rows, all[0]);
    for (const page of pages) assert.deepEqual(await evaluate(page, () => window.errors), []);
  }

  const allSay = (pages, wanted) => Promise.all(pages.map((page) => says(page, wanted)));

  for (const [site, kind] of [
    ["a", "opfs"],
    ["absent", "indexedDb"],
  ]) {
    test(`sync: ${TABS} tabs share one hub over ${kind}, at first and over what was pending when all had closed`, async () => {
      const id = tabs.fresh();
      const first = await crowd(site, id, "first");
      await agree(first.pages, first.written);
      await allSay(first.pages, { connection: "online", pending: 0 });

      await server.stop();
      await allSay(first.pages, { connection: "offline" });
      const away = first.pages.map((_, at) => `away-${at}`);
      await Promise.all(first.pages.map((page, at) => add(page, away[at])));
      await Promise.all(first.pages.map((page) => page.close()));

      const second = await crowd(site, id, "second");
      const all = [...first.written, ...away, ...second.written];
      await agree(second.pages, all);
      await allSay(second.pages, { pending: 2 * TABS });
      await server.start();
      await allSay(second.pages, { connection: "online", pending: 0 });
      await agree(second.pages, all);
      const theirs = await server.column(id, "SELECT id FROM note ORDER BY rowid");
      assert.deepEqual(theirs, await notes(second.pages[0]));
      await tabs.closeTabs();
    });
  }
});
