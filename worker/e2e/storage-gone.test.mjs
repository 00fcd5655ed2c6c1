// The site's data is cleared while documents are open.
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import {
  add,
  evaluate,
  notes,
  open,
  startOpening,
  startWriting,
  stopWriting,
  written,
} from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

describe(`storage that goes while it is used, in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start();
  });
  after(() => tabs?.end());

  /** Clears the site's data as its server may ask for. */
  const clear = (page) =>
    evaluate(page, async () => {
      const response = await fetch("clear", { cache: "no-store" });
      if (!response.ok) throw new Error(`clear: ${response.status}`);
    });
  const told = (page) =>
    evaluate(page, () => window.statuses.some(({ storage }) => storage.reason?.code === "storage_cleared"));

  for (const [folder, kind] of [
    ["a", "opfs"],
    ["absent", "indexedDb"],
  ]) {
    test(`storage: what was in ${kind} when the site's data was cleared is written again`, async () => {
      const id = tabs.fresh();
      const [a, b] = [await tabs.tab(folder), await tabs.tab(folder)];
      for (const page of [a, b]) assert.equal(await open(page, id), "open");
      for (const note of ["one", "two", "three"]) await add(a, note);
      await clear(a);
      await until("it is noticed", () => told(a));
      await until("it is kept again", () =>
        evaluate(a, () => {
          const { kind, reason } = window.doc.status.storage;
          return (kind !== "none" && reason?.code !== "storage_cleared") || { not: window.doc.status };
        }),
      );
      await add(b, "four");
      // A newer tab, whose locks may not meet the older ones'.
      const newer = await tabs.tab(folder);
      assert.equal(await open(newer, id), "open");
      await add(newer, "five");
      await add(a, "six");
      assert.deepEqual(await notes(b), ["one", "two", "three", "four", "five", "six"]);
      await tabs.closeTabs();
      const c = await tabs.tab(folder);
      assert.equal(await open(c, id), "open");
      assert.deepEqual(await notes(c), ["one", "two", "three", "four", "five", "six"]);
      assert.deepEqual(await evaluate(c, () => window.errors), []);
      await tabs.closeTabs();
    });

    test(`storage: a page that writes to ${kind} while the site's data is cleared goes on and keeps all`, async () => {
      const id = tabs.fresh();
      const a = await tabs.tab(folder);
      assert.equal(await open(a, id), "open");
      await startWriting(a, "a");
      for (let time = 0; time < 3; time += 1) {
        const before = await written(a);
        await until("writing", async () => (await written(a)) > before + 20);
        await evaluate(a, () => {
          window.statuses.length = 0;
        });
        await clear(a);
        await until("it is noticed", () => told(a));
        const after = await written(a);
        await until("writing goes on", async () => (await written(a)) > after + 20);
      }
      const { written: ids, failed } = await stopWriting(a);
      assert.deepEqual(failed, []);
      await tabs.closeTabs();
      const b = await tabs.tab(folder);
      assert.equal(await open(b, id), "open");
      assert.deepEqual(await notes(b), ids);
      await tabs.closeTabs();
    });
  }

  const chromiumOnly = browserName === "chromium" ? {} : { skip: "only Chromium throws them away" };
  test(
    "storage: databases that the browser threw away are told, not opened as if nothing had been",
    chromiumOnly,
    async () => {
      const id = tabs.fresh();
      const a = await tabs.tab("absent");
      assert.equal(await open(a, id), "open");
      await add(a, "one");
      const unopened = tabs.fresh();
      const c = await tabs.tab("absent");
      assert.equal(await open(c, unopened), "open");
      await add(c, "two");
      await tabs.closeTabs();
      await tabs.profile.quit();
      let spoilt = 0;
      for (const path of readdirSync(tabs.profile.folder, { recursive: true })) {
        if (/IndexedDB.*127\.0\.0\.1.*(CURRENT|MANIFEST-\d+|\.sqlite3?|\.db)$/.test(path)) {
          writeFileSync(join(tabs.profile.folder, path), "spoilt");
          spoilt += 1;
        }
      }
      assert.ok(
        spoilt > 0,
        readdirSync(tabs.profile.folder, { recursive: true })
          .filter((path) => /IndexedDB/.test(path))
          .join(),
      );
      await tabs.profile.start();
      // Whoever hears of it first ends before it has told anybody.
      const stuck = await tabs.tab("stuck");
      await startOpening(stuck, id);
      await until("the document is noted again", () => tabs.served.reports().includes(`offprint|${id}`));
      await tabs.closeTabs();
      await tabs.profile.kill();
      await tabs.profile.start();
      const b = await tabs.tab("absent");
      assert.equal(await open(b, id), "open");
      const { reason } = await evaluate(b, () => window.doc.status.storage);
      assert.deepEqual([reason?.code, await notes(b)], ["storage_cleared", []]);
      // The browser says it once. Another document, in a browser started later, is told as well.
      await tabs.closeTabs();
      await tabs.profile.quit();
      await tabs.profile.start();
      const d = await tabs.tab("absent");
      assert.equal(await open(d, unopened), "open");
      const { reason: late } = await evaluate(d, () => window.doc.status.storage);
      assert.deepEqual([late?.code, await notes(d)], ["storage_cleared", []]);
      const listed = await evaluate(d, () =>
        window.offprint.listDocuments().then((all) => all.map(({ id }) => id)),
      );
      assert.deepEqual(listed.filter((name) => [id, unopened].includes(name)).sort(), [id, unopened].sort());
      assert.ok(listed.every((name) => name.length > 0));
      await tabs.closeTabs();
    },
  );
});
