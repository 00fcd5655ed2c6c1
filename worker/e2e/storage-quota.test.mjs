// A device that is full, with the browser's own quota.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until, within } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { filler } from "./lib/filler.mjs";
import { add, close, evaluate, notes, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const QUOTA = 24 << 20;

describe(`storage that is full, in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start({ prefs: { "dom.quotaManager.temporaryStorage.fixedLimit": (5 * QUOTA) >> 10 } });
  });
  after(() => tabs?.end());

  async function limit(page, quotaSize = QUOTA) {
    if (browserName !== "chromium") return;
    const session = await page.createCDPSession();
    const { origin } = new URL(tabs.served.url("a"));
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize });
  }

  test("storage: without room mutations fail with quota and leave nothing, the rest goes on, and so do they once there is room", async () => {
    const id = tabs.fresh();
    let page = await tabs.tab();
    await limit(page);
    assert.equal(await open(page, id), "open");
    await add(page, "before");
    assert.ok((await filler(page, true)) > 1 << 20);
    const { durable, failed, codes } = await within(
      90,
      "the device is full",
      page.evaluate(async () => {
        const [durable, failed] = [[], []];
        const codes = new Set();
        // A smaller one may have room where a larger one has not.
        let size = 100_000;
        for (let n = 0; n < 600; n += 1) {
          const write = window.doc.mutate.add({ id: `note-${n}`, tab: "x".repeat(size) });
          write.durable.then(
            () => durable.push(`note-${n}`),
            () => undefined,
          );
          try {
            await write.applied;
            await new Promise((resolve) => setTimeout(resolve, 20));
          } catch (error) {
            codes.add(error.code);
            failed.push(`note-${n}`);
            if (size < 10) break;
            size = Math.floor(size / 2);
          }
        }
        return { durable, failed, codes: [...codes] };
      }),
    );
    assert.deepEqual(codes, ["quota"]);
    const there = await notes(page);
    assert.deepEqual(
      failed.filter((note) => there.includes(note)),
      [],
    );
    assert.ok(there.includes("before"));
    const { shortage, reason, kind } = await evaluate(page, () => window.doc.status.storage);
    assert.deepEqual([shortage, reason?.code, kind], ["readOnly", "quota", "opfs"]);

    await within(60, "reload", page.reload());
    await until("the page is ready", () => page.evaluate(() => window.offprint !== undefined));
    assert.equal(await open(page, id), "open");
    const again = await notes(page);
    assert.deepEqual(
      ["before", ...durable].filter((note) => !again.includes(note)),
      [],
    );

    await filler(page, false);
    await until("there is room again", () =>
      evaluate(page, () => window.doc.status.storage.shortage === null || { not: window.doc.status.storage }),
    );
    await add(page, "after");
    assert.equal(await evaluate(page, () => window.doc.status.storage.reason), null);
    await tabs.closeTabs();
    page = await tabs.tab();
    assert.equal(await open(page, id), "open");
    assert.deepEqual(await notes(page), [...again, "after"]);
    assert.deepEqual(await evaluate(page, () => window.errors), []);
    await tabs.closeTabs();
  });

  test("storage: a document opens without room though its replay takes long, and tells of it", async () => {
    const id = tabs.fresh();
    const page = await tabs.tab();
    await limit(page);
    // A server that does not answer: what is written stays pending.
    const server = "ws://127.0.0.1:9";
    assert.equal(await open(page, id, { server }), "open");
    const count = 12_000;
    await within(
      60,
      "many mutations are durable",
      page.evaluate(async (count) => {
        const notes = Array.from({ length: count }, (_, n) => ({ id: `note-${n}`, tab: "x".repeat(60) }));
        await Promise.all(notes.map((note) => window.doc.mutate.add(note).durable));
      }, count),
    );
    await close(page);
    assert.ok((await filler(page, true)) > 1 << 20);
    assert.equal(await open(page, id, { server }), "open");
    assert.equal((await notes(page)).length, count);
    const { shortage, reason } = await evaluate(page, () => window.doc.status.storage);
    assert.ok(shortage);
    assert.equal(reason?.code, "quota");
    assert.ok(
      await evaluate(page, () => window.statuses.some(({ ready, storage }) => !ready && storage.shortage)),
    );
    await filler(page, false);
    await until("there is room again", () =>
      evaluate(page, () => window.doc.status.storage.shortage === null),
    );
    assert.deepEqual(await evaluate(page, () => window.errors), []);
    await tabs.closeTabs();
  });

  test("storage: a document of the device's own opens with a server though there is no room to ask it", async () => {
    const [id, own] = [tabs.fresh(), tabs.fresh()];
    const page = await tabs.tab();
    await limit(page);
    assert.equal(await open(page, id), "open");
    await evaluate(
      page,
      async (id) => {
        // A document from a file has a history at once.
        const { blob } = await window.doc.export();
        await window.doc.close();
        window.doc = await window.offprint.open(window.offprint.definition, id, { import: await blob() });
        // What is random takes as much room in the next log.
        const text = () =>
          Array.from({ length: 10_000 }, () => Math.random().toString(36).slice(2, 12)).join("");
        for (const id of "abcdefghijklmnop") await window.doc.mutate.add({ id, tab: text() }).durable;
      },
      own,
    );
    await close(page);
    await filler(page, true);
    assert.equal(await open(page, own, { server: "ws://127.0.0.1:9" }), "open");
    const { local, storage } = await evaluate(page, () => window.doc.status);
    assert.deepEqual([local, storage.reason?.code], [true, "quota"]);
    assert.equal((await notes(page)).length, 16);
    await filler(page, false);
    await until("the server is asked", () =>
      evaluate(page, () => window.doc.status.connectionProblem?.code === "unreachable"),
    );
    assert.deepEqual(await evaluate(page, () => window.errors), []);
    await tabs.closeTabs();
  });

  test("storage: without room for IndexedDB mutations fail with quota, what was durable stays, and it goes on by itself", async () => {
    const [id, other] = [tabs.fresh(), tabs.fresh()];
    const [page, late] = [await tabs.tab("absent"), await tabs.tab("absent")];
    await limit(page);
    assert.equal(await open(late, other), "open");
    await add(late, "kept");
    await close(late);
    assert.equal(await open(page, id), "open");
    assert.equal(await evaluate(page, () => window.doc.status.storage.kind), "indexedDb");
    await add(page, "before");
    await filler(page, true);
    const { durable, waiting, failed, code } = await within(
      90,
      "the device is full",
      page.evaluate(async () => {
        const [durable, waiting] = [[], new Set()];
        // What does not compress.
        const text = () =>
          Array.from({ length: 10_000 }, () => Math.random().toString(36).slice(2, 12)).join("");
        for (let n = 0; ; n += 1) {
          const id = `note-${n}`;
          const write = window.doc.mutate.add({ id, tab: text() });
          write.durable.then(
            () => waiting.delete(id) && durable.push(id),
            () => undefined,
          );
          try {
            await write.applied;
            waiting.add(id);
            await new Promise((resolve) => setTimeout(resolve, 20));
          } catch ({ code }) {
            return { durable, waiting: [...waiting], failed: id, code };
          }
        }
      }),
    );
    assert.equal(code, "quota");
    assert.ok(waiting.length > 0);
    const all = ["before", ...durable, ...waiting];
    assert.deepEqual(await notes(page), all);
    assert.equal(all.includes(failed), false);
    const { shortage, reason } = await evaluate(page, () => window.doc.status.storage);
    assert.deepEqual([shortage, reason?.code], ["readOnly", "quota"]);
    assert.equal(await open(late, other), "open");
    assert.deepEqual(await notes(late), ["kept"]);
    const lack = (page) => evaluate(page, () => window.doc.status.storage.shortage);

    await filler(page, false);
    // Chromium notices late how much IndexedDB takes: by then that is more than the quota.
    await limit(page, 8 * QUOTA);
    for (const each of [page, late]) {
      await until("there is room again", async () => (await lack(each)) === null, { seconds: 60 });
      await add(each, "after");
      assert.equal(await evaluate(each, () => window.doc.status.storage.reason?.code), "storage_unavailable");
      assert.deepEqual(await evaluate(each, () => window.errors), []);
    }
    await tabs.closeTabs();
    const again = await tabs.tab("absent");
    assert.equal(await open(again, id), "open");
    // What waited has come to the device by itself.
    assert.deepEqual(await notes(again), [...all, "after"]);
    assert.equal(await open(again, other), "open");
    assert.deepEqual(await notes(again), ["kept", "after"]);
    await tabs.closeTabs();
  });
});
