// Which documents there are.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { add, close, evaluate, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const list = (page) => evaluate(page, () => window.offprint.listDocuments());

describe(`storage that is listed, in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start();
  });
  after(() => tabs?.end());

  test("storage: documents of either kind are listed, open or not, with what was noted of them", async () => {
    const began = Date.now() - 1;
    const page = await tabs.tab("a");
    assert.deepEqual(await list(page), []);
    assert.equal(await open(page, "closed"), "open");
    await add(page, "x");
    await close(page);
    const without = await tabs.tab("absent");
    assert.equal(await open(without, "in-indexed-db"), "open");
    await add(without, "x");
    await close(without);
    // A server that does not answer: what is written stays pending.
    assert.equal(await open(page, "..", { server: "ws://127.0.0.1:9" }), "open");
    for (const note of ["1", "2", "3"]) await add(page, note);
    await until("it is noted what is pending", async () => (await list(page))[0]?.pending === 3);
    const documents = await list(page);
    assert.deepEqual(
      documents.map(({ id, kind, definition, pending }) => [id, kind, definition, pending]),
      [
        ["..", "opfs", "notes", 3],
        ["closed", "opfs", "notes", 0],
        ["in-indexed-db", "indexedDb", "notes", 0],
      ],
    );
    for (const { used, size, id } of documents) {
      assert.ok(used >= began && used <= Date.now(), `${id} was used ${used}`);
      if (id !== "..") assert.ok(size > 4096, `${id} takes ${size}`);
    }
    await close(page);
    assert.ok((await list(page))[0].size > 4096);
    // Listing made nothing and opened nothing.
    assert.equal(await open(page, "closed"), "open");
    assert.equal((await list(page)).length, 3);
    // Without the private file system its documents are out of reach.
    assert.deepEqual(
      (await list(without)).map(({ id }) => id),
      ["in-indexed-db"],
    );
    assert.deepEqual(await evaluate(page, () => window.errors), []);
    await tabs.closeTabs();
  });

  test("storage: what was noted to be pending stays so while the document is opened again", async () => {
    const id = tabs.fresh();
    const page = await tabs.tab("noted");
    await evaluate(page, () => {
      window.noted = [];
      new BroadcastChannel("noted").onmessage = ({ data }) => window.noted.push(data);
    });
    const pending = async () => (await list(page)).find((document) => document.id === id)?.pending;
    for (const note of ["one", "two"]) {
      assert.equal(await open(page, id, { server: "ws://127.0.0.1:9" }), "open");
      await add(page, note);
      await close(page);
    }
    assert.equal(await pending(), 2);
    const noted = await evaluate(page, () => window.noted);
    assert.deepEqual([...new Set(noted.slice(noted.indexOf(1)))], [1, 2]);
    await tabs.closeTabs();
  });

  test("storage: a document that is removed while documents are listed is not listed, nor made again", async () => {
    const page = await tabs.tab("deleted");
    const ids = (await list(page)).map(({ id }) => id);
    assert.equal(ids.includes("deleted"), false);
    const databases = await evaluate(page, async () => (await indexedDB.databases()).map(({ name }) => name));
    assert.equal(databases.includes("offprint|deleted"), false);
    await tabs.closeTabs();
  });

  test("storage: files that were made before a document could be noted are no document", async () => {
    const id = tabs.fresh();
    const blind = await tabs.tab("blind");
    assert.equal(await open(blind, id), "storage_unavailable");
    const page = await tabs.tab();
    const ids = (await list(page)).map((document) => document.id);
    assert.equal(ids.includes(id), false);
    assert.equal(await open(page, id), "open");
    await close(page);
    assert.ok((await list(page)).some((document) => document.id === id));
    await tabs.closeTabs();
  });
});
