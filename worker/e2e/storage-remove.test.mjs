// Documents that are removed from the device.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until, within } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { add, close, evaluate, notes, open, startOpening } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

/** A server that does not answer. */
const NOWHERE = { server: "ws://127.0.0.1:9" };

/** Removes a document; resolves with "removed" or the error's code. */
const remove = (page, id, options = {}) =>
  within(
    90,
    `${id} is removed`,
    page.evaluate(
      async ({ id, options }) => {
        try {
          await window.offprint.removeDocument(id, options);
          return "removed";
        } catch (error) {
          window.failure = error;
          return error.code ?? String(error);
        }
      },
      { id, options },
    ),
  );

const startRemoving = (page, id, options = {}) =>
  page.evaluate(
    ({ id, options }) => {
      window.offprint.removeDocument(id, options).catch(() => undefined);
    },
    { id, options },
  );

/** What is noted of a document. */
const noted = (page, id) =>
  evaluate(
    page,
    (id) =>
      new Promise((resolve, reject) => {
        const request = indexedDB.open("offprint");
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const get = request.result.transaction("document").objectStore("document").get(id);
          get.onsuccess = () => {
            request.result.close();
            resolve(get.result ?? null);
          };
        };
      }),
    id,
  );

const listed = async (page, id) =>
  (await evaluate(page, () => window.offprint.listDocuments())).some((document) => document.id === id);

const message = (page) => evaluate(page, () => window.failure.message);

describe(`storage that is removed, in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start();
  });
  after(() => tabs?.end());

  for (const [folder, kind] of [
    ["a", "opfs"],
    ["absent", "indexedDb"],
  ]) {
    const made = async (page, options = {}) => {
      const id = tabs.fresh();
      assert.equal(await open(page, id, options), "open");
      assert.equal(await evaluate(page, () => window.doc.status.storage.kind), kind);
      await add(page, "kept");
      await close(page);
      return id;
    };

    test(`storage: what no server has is removed from ${kind} by force alone, and then wholly`, async () => {
      const page = await tabs.tab(folder);
      const id = await made(page, NOWHERE);
      assert.equal(await remove(page, id), "pending");
      assert.match(await message(page), /1 of its mutations/);
      assert.equal(await open(page, id, NOWHERE), "open");
      assert.deepEqual(await notes(page), ["kept"]);
      await close(page);
      assert.equal(await remove(page, id, { force: true }), "removed");
      assert.equal(await listed(page, id), false);
      assert.equal(await noted(page, id), null);
      // It is removed already.
      assert.equal(await remove(page, id), "removed");
      assert.equal(await open(page, id, NOWHERE), "open");
      assert.deepEqual(await notes(page), []);
      assert.deepEqual(await evaluate(page, () => window.errors), []);
      await tabs.closeTabs();
    });

    test(`storage: a document in ${kind} that holds nothing of anybody's is removed`, async () => {
      const page = await tabs.tab(folder);
      const id = tabs.fresh();
      assert.equal(await open(page, id, NOWHERE), "open");
      await close(page);
      assert.equal(await listed(page, id), true);
      assert.equal(await remove(page, id), "removed");
      assert.equal(await listed(page, id), false);
      await tabs.closeTabs();
    });

    test(`storage: a document in ${kind} is not removed while a tab has it open`, async () => {
      const [page, other] = [await tabs.tab(folder), await tabs.tab(folder)];
      const id = tabs.fresh();
      assert.equal(await open(page, id), "open");
      await add(page, "one");
      const both = [remove(other, id, { force: true }), remove(page, id, { force: true })];
      assert.deepEqual(await Promise.all(both), ["blocked", "blocked"]);
      await add(page, "two");
      assert.deepEqual(await notes(page), ["one", "two"]);
      // A tab that closes is waited for.
      const removed = remove(other, id, { force: true });
      await close(page);
      assert.equal(await removed, "removed");
      await tabs.closeTabs();
    });

    for (const cut of ["cut", "fail"]) {
      test(`storage: a removal from ${kind} that is cut short (${cut}) is ended by who opens the document`, async () => {
        const page = await tabs.tab(folder);
        const id = await made(page);
        const cutter = await tabs.tab(cut);
        await startRemoving(cutter, id, { force: true });
        await until("it is decided", async () => (await noted(page, id))?.removing === true);
        if (cut === "cut") {
          // What was decided is done as far as it can be.
          await until("the files are empty", () =>
            kind === "opfs" ? headLength(page, id).then((length) => length === 0) : true,
          );
        }
        await cutter.close();
        assert.equal(await listed(page, id), false);
        assert.equal(await open(page, id), "open");
        assert.deepEqual(await notes(page), []);
        assert.equal((await noted(page, id)).removing, false);
        await add(page, "anew");
        await close(page);
        assert.equal(await open(page, id), "open");
        assert.deepEqual(await notes(page), ["anew"]);
        await tabs.closeTabs();
      });
    }

    test(`storage: a removal from ${kind} that is cut short is ended by the next removal, without force`, async () => {
      const page = await tabs.tab(folder);
      const id = await made(page);
      const cutter = await tabs.tab("fail");
      await startRemoving(cutter, id, { force: true });
      await until("it is decided", async () => (await noted(page, id))?.removing === true);
      await cutter.close();
      assert.equal(await remove(page, id), "removed");
      assert.equal(await noted(page, id), null);
      assert.equal(await open(page, id), "open");
      assert.deepEqual(await notes(page), []);
      await tabs.closeTabs();
    });

    test(`storage: a document is removed from ${kind} though there is no room to note it`, async () => {
      const page = await tabs.tab(folder);
      const id = await made(page, NOWHERE);
      const full = await tabs.tab("full");
      assert.equal(await remove(full, id), "pending");
      assert.equal(await remove(full, id, { force: true }), "removed");
      assert.equal(await listed(page, id), false);
      assert.equal(await noted(page, id), null);
      assert.equal(await open(page, id, NOWHERE), "open");
      assert.deepEqual(await notes(page), []);
      await tabs.closeTabs();
    });

    test(`storage: two removals from ${kind} at once both succeed`, async () => {
      const [page, other] = [await tabs.tab(folder), await tabs.tab(folder)];
      const id = await made(page);
      const both = [remove(page, id, { force: true }), remove(other, id, { force: true })];
      assert.deepEqual(await Promise.all(both), ["removed", "removed"]);
      assert.equal(await listed(page, id), false);
      await tabs.closeTabs();
    });

    test(`storage: a tab that opens a document in ${kind} while it is removed has the old one or a new one`, async () => {
      const [page, other] = [await tabs.tab(folder), await tabs.tab(folder)];
      for (let time = 0; time < 2; time += 1) {
        const id = await made(page);
        // Who comes first alternates.
        const opening = time % 2 ? open(other, id) : undefined;
        const removed = remove(page, id, { force: true });
        assert.equal(await (opening ?? open(other, id)), "open");
        const outcome = await removed;
        const before = outcome === "removed" ? [] : ["kept"];
        assert.ok(outcome === "removed" || outcome === "blocked", outcome);
        assert.deepEqual(await notes(other), before);
        await add(other, "after");
        await close(other);
        assert.equal(await open(other, id), "open");
        assert.deepEqual(await notes(other), [...before, "after"]);
        await close(other);
      }
      assert.deepEqual(await evaluate(other, () => window.errors), []);
      await tabs.closeTabs();
    });
  }

  test("storage: files that another worker holds are not removed", async () => {
    const page = await tabs.tab();
    const id = tabs.fresh();
    await evaluate(
      page,
      (id) =>
        new Promise((resolve) => {
          window.holder = new Worker("holder.js");
          window.holder.onmessage = () => resolve();
          window.holder.postMessage(id);
        }),
      id,
    );
    assert.equal(await remove(page, id, { force: true }), "blocked");
    await evaluate(page, () => window.holder.terminate());
    assert.equal(await remove(page, id, { force: true }), "removed");
    await tabs.closeTabs();
  });

  test("storage: without the private file system a document that is there is not taken for removed", async () => {
    const page = await tabs.tab();
    const id = tabs.fresh();
    assert.equal(await open(page, id), "open");
    await add(page, "kept");
    await close(page);
    const without = await tabs.tab("absent");
    assert.equal(await remove(without, id, { force: true }), "storage_unavailable");
    assert.equal(await open(page, id), "open");
    assert.deepEqual(await notes(page), ["kept"]);
    await tabs.closeTabs();
  });

  test("storage: a document whose files are damaged is removed by force alone", async () => {
    const page = await tabs.tab();
    const id = tabs.fresh();
    assert.equal(await open(page, id, NOWHERE), "open");
    for (const note of ["one", "two", "three"]) await add(page, note);
    await close(page);
    await evaluate(
      page,
      async (id) => {
        let directory = await navigator.storage.getDirectory();
        for (const name of ["offprint", `${id}.offprint`])
          directory = await directory.getDirectoryHandle(name);
        for (const name of ["log-0", "log-1", "head"]) {
          const file = await directory.getFileHandle(name);
          const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer());
          bytes.fill(0xa5, 0, 600);
          const stream = await file.createWritable();
          await stream.write(bytes);
          await stream.close();
        }
      },
      id,
    );
    assert.equal(await remove(page, id), "pending");
    assert.match(await message(page), /cannot be told/);
    assert.equal(await remove(page, id, { force: true }), "removed");
    await tabs.closeTabs();
  });

  test("storage: what is no document's id is refused", async () => {
    const page = await tabs.tab();
    assert.equal(await remove(page, "no/id"), "bad_document_id");
    await tabs.closeTabs();
  });

  test("storage: a page whose core does not load removes by force alone", async () => {
    const page = await tabs.tab();
    const id = tabs.fresh();
    assert.equal(await open(page, id, NOWHERE), "open");
    await close(page);
    const without = await tabs.tab("no-wasm");
    assert.equal(await remove(without, id), "not_loaded");
    assert.equal(await remove(without, id, { force: true }), "removed");
    await startOpening(page, id);
    await until("it is open", () => evaluate(page, () => window.doc?.status.ready === true));
    await tabs.closeTabs();
  });

  const headLength = (page, id) =>
    evaluate(
      page,
      async (id) => {
        let directory = await navigator.storage.getDirectory();
        for (const name of ["offprint", `${id}.offprint`])
          directory = await directory.getDirectoryHandle(name);
        return (await (await directory.getFileHandle("head")).getFile()).size;
      },
      id,
    );
});
