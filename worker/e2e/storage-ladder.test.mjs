// Which store a document is kept in, and that it is found there again.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import {
  add,
  close,
  evaluate,
  notes,
  open,
  startOpening,
  startWriting,
  stopWriting,
  written,
} from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const storage = (page) => evaluate(page, () => window.doc.status.storage);

describe(`storage ladder in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start();
  });
  after(() => tabs?.end());

  test("storage: without a private file system the document is kept in IndexedDB, and shared", async () => {
    const id = tabs.fresh();
    const [a, b] = [await tabs.tab("absent"), await tabs.tab("absent")];
    for (const page of [a, b]) assert.equal(await open(page, id), "open");
    const { kind, durable, reason } = await storage(a);
    assert.deepEqual([kind, durable, reason.code], ["indexedDb", true, "storage_unavailable"]);
    await startWriting(b, "b");
    await until("writing", async () => (await written(b)) > 30);
    await a.close();
    const before = await written(b);
    await until("writing goes on", async () => (await written(b)) > before + 30);
    const { written: ids, failed } = await stopWriting(b);
    assert.deepEqual(failed, []);
    await tabs.closeTabs();
    const c = await tabs.tab("absent");
    assert.equal(await open(c, id), "open");
    assert.deepEqual(await notes(c), ids);
    await tabs.closeTabs();
  });

  test("storage: a document that was made in IndexedDB is found there when there is a private file system", async () => {
    const id = tabs.fresh();
    const without = await tabs.tab("absent");
    assert.equal(await open(without, id), "open");
    await add(without, "made there");
    await close(without);
    const with_ = await tabs.tab("a");
    assert.equal(await open(with_, id), "open");
    assert.deepEqual(await notes(with_), ["made there"]);
    assert.equal((await storage(with_)).kind, "indexedDb");
    await add(with_, "and again");
    await close(with_);
    assert.equal(await open(without, id), "open");
    assert.deepEqual(await notes(without), ["made there", "and again"]);
    await tabs.closeTabs();
  });

  test("storage: a document that was made there is found in IndexedDB without the registry, too", async () => {
    const id = tabs.fresh();
    const page = await tabs.tab("absent");
    assert.equal(await open(page, id), "open");
    await add(page, "kept");
    await close(page);
    await evaluate(
      page,
      () =>
        new Promise((resolve, reject) => {
          const request = indexedDB.deleteDatabase("offprint");
          request.onsuccess = () => resolve();
          request.onerror = () => reject(request.error);
        }),
    );
    const other = await tabs.tab("b");
    assert.equal(await open(other, id), "open");
    assert.deepEqual(await notes(other), ["kept"]);
    await tabs.closeTabs();
  });

  test("storage: a document in the private file system is not opened anywhere else", async () => {
    const id = tabs.fresh();
    const with_ = await tabs.tab("a");
    assert.equal(await open(with_, id), "open");
    await add(with_, "kept");
    await close(with_);
    const without = await tabs.tab("absent");
    assert.equal(await open(without, id), "storage_unavailable");
    assert.equal(await open(without, id, { fallback: "memory" }), "storage_unavailable");
    assert.match(await evaluate(without, () => window.failure.message), /private file system/);
    assert.equal(await open(with_, id), "open");
    assert.deepEqual(await notes(with_), ["kept"]);
    assert.equal((await storage(with_)).kind, "opfs");
    await tabs.closeTabs();
  });

  test("storage: memory is used only where there is nothing else and the app asks for it", async () => {
    const id = tabs.fresh();
    const [a, b] = [await tabs.tab("nowhere"), await tabs.tab("nowhere")];
    assert.equal(await open(a, id), "storage_unavailable");
    assert.equal(await open(a, id, { fallback: "memory" }), "open");
    const { kind, durable, reason } = await storage(a);
    assert.deepEqual([kind, durable, reason.code], ["memory", false, "storage_unavailable"]);
    await add(a, "one");
    assert.equal(await open(b, id), "open");
    await add(b, "two");
    await close(a);
    assert.deepEqual(await notes(b), ["one", "two"]);
    await close(b);
    assert.equal(await open(b, id, { fallback: "memory" }), "open");
    assert.deepEqual(await notes(b), []);
    await close(b);
    // Where there is something else it is used.
    const c = await tabs.tab("a");
    assert.equal(await open(c, id, { fallback: "memory" }), "open");
    assert.equal((await storage(c)).kind, "opfs");
    await tabs.closeTabs();
  });

  test("storage: while IndexedDB does not say where documents are, none is made beside another", async () => {
    const id = tabs.fresh();
    const a = await tabs.tab("a");
    assert.equal(await open(a, id), "open");
    await add(a, "kept");
    await close(a);
    const blind = await tabs.tab("blind");
    assert.equal(await open(blind, id), "open");
    assert.deepEqual(await notes(blind), ["kept"]);
    await close(blind);
    assert.equal(await open(blind, tabs.fresh()), "storage_unavailable");
    await tabs.closeTabs();
  });

  test("storage: a document in IndexedDB that another deploy has open is waited for", async () => {
    const id = tabs.fresh();
    const a = await tabs.tab("absent");
    assert.equal(await open(a, id), "open");
    await add(a, "first");
    const b = await tabs.tab("b");
    await startOpening(b, id);
    const blocked = () =>
      evaluate(b, () => window.statuses.some((status) => status.storage.reason?.code === "blocked"));
    await until("it is told", blocked);
    await add(a, "second");
    await close(a);
    await until("b opens", () => evaluate(b, () => window.doc?.status.ready));
    assert.deepEqual(await notes(b), ["first", "second"]);
    assert.equal((await storage(b)).kind, "indexedDb");
    await tabs.closeTabs();
  });
});

describe(`storage in a private window of ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start({
      prefs: { "browser.privatebrowsing.autostart": true },
      args: browserName === "chromium" ? ["--incognito"] : [],
    });
  });
  after(() => tabs?.end());

  test("storage: a private window has documents, shared by its tabs", async () => {
    const id = tabs.fresh();
    const [a, b] = [await tabs.tab(), await tabs.tab()];
    for (const page of [a, b]) assert.equal(await open(page, id), "open");
    assert.equal((await storage(a)).kind, browserName === "firefox" ? "indexedDb" : "opfs");
    await add(a, "one");
    await a.close();
    await add(b, "two");
    await close(b);
    assert.equal(await open(b, id), "open");
    assert.deepEqual(await notes(b), ["one", "two"]);
    await tabs.closeTabs();
  });
});
