// A document in real tabs, without a bundler and without a server: hub, disk and tabs, and the death of each.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import {
  add,
  close,
  evaluate,
  hubs,
  notes,
  open,
  startOpening,
  startWriting,
  stopWriting,
  written,
} from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const chromiumOnly = browserName === "chromium" ? {} : { skip: "needs Chromium's DevTools protocol" };
const sorted = (ids) => [...ids].sort();

describe(`hub and disk in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start();
  });
  after(() => tabs?.end());

  const fresh = () => tabs.fresh();
  const tab = (folder) => tabs.tab(folder);
  const closeTabs = () => tabs.closeTabs();

  /** Every note that was told to be durable is there, and none twice. */
  async function checkNotes(page, written) {
    const there = await notes(page);
    assert.equal(new Set(there).size, there.length, "a note is there twice");
    const missing = written.filter((id) => !there.includes(id));
    assert.deepEqual(missing, [], "a durable note is missing");
  }

  test("a change in one tab is seen in the other, and is there after all are closed", async () => {
    const id = fresh();
    const a = await tab();
    assert.equal(await open(a, id), "open");
    const b = await tab();
    assert.equal(await open(b, id), "open");
    await evaluate(b, () => {
      window.seen = [];
      window.doc.subscribe(window.offprint.sql`SELECT id FROM note`, (rows) => window.seen.push(rows.length));
    });
    await add(a, "one");
    await add(b, "two");
    await until("b sees both", () => evaluate(b, () => window.seen.at(-1) === 2));
    const status = await evaluate(b, () => window.doc.status);
    assert.deepEqual([status.ready, status.connection, status.rejections], [true, "none", []]);
    const { kind, durable, reason, shortage } = status.storage;
    assert.deepEqual([kind, durable, reason, shortage], ["opfs", true, null, null]);
    await closeTabs();
    const c = await tab();
    assert.equal(await open(c, id), "open");
    assert.deepEqual(await notes(c), ["one", "two"]);
    assert.deepEqual(await evaluate(c, () => window.errors), []);
    await closeTabs();
  });

  test("two documents in one page keep their changes apart, though they are asked the same", async () => {
    const ids = [fresh(), fresh()];
    const [a, b] = [await tab(), await tab()];
    for (const page of [a, b]) {
      await evaluate(
        page,
        async (ids) => {
          const { open, definition, sql } = window.offprint;
          window.docs = await Promise.all(ids.map((id) => open(definition, id)));
          window.seen = window.docs.map((doc) => {
            const seen = [];
            doc.subscribe(sql`SELECT id FROM note ORDER BY rowid`, (rows) =>
              seen.push(rows.map(({ id }) => id).join()),
            );
            return seen;
          });
        },
        ids,
      );
    }
    const write = (page, at, note) =>
      evaluate(page, ({ at, note }) => window.docs[at].mutate.add({ id: note, tab: "x" }).durable, {
        at,
        note,
      });
    const shows = (page, wanted) =>
      until(`both show ${wanted}`, async () => {
        const seen = await evaluate(page, () => window.seen.map((seen) => seen.at(-1)));
        return JSON.stringify(seen) === JSON.stringify(wanted) || { not: seen };
      });
    for (const page of [a, b]) await shows(page, ["", ""]);
    await write(a, 0, "one");
    for (const page of [a, b]) await shows(page, ["one", ""]);
    await write(b, 1, "two");
    await write(b, 0, "three");
    for (const page of [a, b]) await shows(page, ["one,three", "two"]);
    await until("each has its hub", async () => (await hubs(a)).length === ids.length);
    // The end of the one is not the other's.
    for (const page of [a, b]) await evaluate(page, () => window.docs[0].close());
    await write(a, 1, "four");
    for (const page of [a, b]) {
      await shows(page, ["one,three", "two,four"]);
      const [first, second] = await evaluate(page, () => window.seen);
      assert.deepEqual(first, ["", "one", "one,three"]);
      assert.deepEqual(second, ["", "two", "two,four"]);
      assert.deepEqual(await evaluate(page, () => window.errors), []);
    }
    await closeTabs();
  });

  test("a mutation that fails rejects with its code and leaves no trace", async () => {
    const a = await tab();
    assert.equal(await open(a, fresh()), "open");
    const codes = await evaluate(a, async () => {
      const { mutate } = window.doc;
      const code = (promise) =>
        promise.then(
          () => "fine",
          (error) => error.code,
        );
      await mutate.once({ id: "1" });
      mutate.once({ id: "1" });
      return Promise.all([
        code(mutate.once({ id: "1" })),
        code(mutate.add({ id: "1" })),
        code(mutate.add({ id: "1", tab: "x", more: 1 })),
        code(mutate.add({ id: undefined, tab: "x" })),
        code(mutate.add({ id: "x".repeat(1_200_000), tab: "x" })),
        code(window.doc.query(window.offprint.sql`SELECT * FROM nothing`)),
        code(window.doc.query(window.offprint.sql`DELETE FROM note`)),
      ]);
    });
    assert.deepEqual(codes, [
      "constraint",
      "bad_argument",
      "bad_argument",
      "bad_argument",
      "too_large",
      "sql",
      "forbidden",
    ]);
    assert.deepEqual(await notes(a), []);
    assert.deepEqual(await evaluate(a, () => window.errors), []);
    await closeTabs();
  });

  test("when the lending tab closes, the other goes on, and nothing that was durable is lost or twice", async () => {
    const id = fresh();
    const [a, b, c] = [await tab(), await tab(), await tab()];
    for (const page of [a, b, c]) assert.equal(await open(page, id), "open");
    await startWriting(b, "b");
    await startWriting(c, "c");
    for (const page of [a, b]) {
      const writers = page === b ? [c] : [b, c];
      for (const writer of writers) {
        const before = await written(writer);
        await until("writing", async () => (await written(writer)) > before + 20);
      }
      if (page === b) await stopWriting(b);
      await tabs.profile.closeTab(page);
      for (const writer of writers) {
        const after = await written(writer);
        await until("writing goes on", async () => (await written(writer)) > after + 20);
      }
    }
    const { written: ids, failed } = await stopWriting(c);
    assert.deepEqual(failed, []);
    await checkNotes(c, ids);
    await closeTabs();
    const again = await tab();
    assert.equal(await open(again, id), "open");
    await checkNotes(again, ids);
    await closeTabs();
  });

  test("when the hub's renderer crashes, the other tabs go on with another hub", chromiumOnly, async () => {
    const id = fresh();
    const [a, b] = [await tab(), await tab()];
    for (const page of [a, b]) assert.equal(await open(page, id), "open");
    await evaluate(b, () => {
      window.doc.subscribe(window.offprint.sql`SELECT count(*) AS n FROM note`, ([row]) => {
        window.count = row.n;
      });
    });
    await startWriting(b, "b");
    await until("writing", async () => (await written(b)) > 50);
    const [first] = await hubs(b);
    a.goto("chrome://crash").catch(() => undefined);
    await until("there is another hub", async () => {
      const [now] = await hubs(b);
      return now !== undefined && now !== first;
    });
    const after = await written(b);
    await until("writing goes on", async () => (await written(b)) > after + 50);
    const { written: ids, failed } = await stopWriting(b);
    assert.deepEqual(failed, []);
    await checkNotes(b, ids);
    const count = (await notes(b)).length;
    await until("its live query goes on", () => evaluate(b, (count) => window.count === count, count));
    await closeTabs();
  });

  test("when the core traps, again and again, another hub goes on and requests are answered once", async () => {
    const id = fresh();
    const [a, b] = [await tab("trap"), await tab("trap")];
    for (const page of [a, b]) assert.equal(await open(page, id), "open");
    await startWriting(a, "a");
    await startWriting(b, "b");
    for (let time = 0; time < 3; time += 1) {
      const before = await written(b);
      await until("writing", async () => (await written(b)) > before + 30);
      const trapped = await hubs(b);
      await evaluate(a, () => new BroadcastChannel("trap").postMessage(null));
      await until("there is another hub", async () => {
        const now = await hubs(b);
        return now.some((name) => !trapped.includes(name)) && !now.includes(trapped[0]);
      });
      const after = await written(b);
      await until("writing goes on", async () => (await written(b)) > after + 30);
    }
    const results = [await stopWriting(a), await stopWriting(b)];
    assert.deepEqual(
      results.flatMap(({ failed }) => failed),
      [],
    );
    await checkNotes(
      b,
      results.flatMap(({ written }) => written),
    );
    await closeTabs();
  });

  test("a core that traps whenever it opens the document ends the opening, and nothing is lost", async () => {
    const id = fresh();
    const a = await tab();
    assert.equal(await open(a, id), "open");
    await add(a, "kept");
    await close(a);
    const doomed = await tab("doomed");
    assert.equal(await open(doomed, id), "internal");
    // In Firefox what a worker says last may be lost.
    const last = browserName === "firefox" ? "(unreachable|it did not say of what)" : "unreachable";
    assert.match(
      await evaluate(doomed, () => window.failure.message),
      new RegExp(`5 times in a row: ${last}`),
    );
    assert.equal(await open(a, id), "open");
    assert.deepEqual(await notes(a), ["kept"]);
    await closeTabs();
  });

  test("a core that traps for a while is told in the status of who has the document open", async () => {
    const id = fresh();
    const a = await tab("trap");
    assert.equal(await open(a, id), "open");
    await evaluate(a, async () => {
      const channel = new BroadcastChannel("trap");
      window.trapping = setInterval(() => channel.postMessage(null), 10);
      await new Promise((resolve) => setTimeout(resolve, 200));
      window.asked = window.doc.query(window.offprint.sql`SELECT 1 AS one`);
    });
    const reason = () => evaluate(a, () => window.doc.status.storage.reason?.code);
    await until("it is told", async () => (await reason()) === "internal");
    await evaluate(a, () => clearInterval(window.trapping));
    await add(a, "after");
    assert.equal(await reason(), undefined);
    assert.deepEqual(await evaluate(a, () => window.asked), [{ one: 1 }]);
    assert.deepEqual(await notes(a), ["after"]);
    await closeTabs();
  });

  test("a frozen tab's disk is taken over", chromiumOnly, async () => {
    const id = fresh();
    const [a, b] = [await tab(), await tab()];
    for (const page of [a, b]) assert.equal(await open(page, id), "open");
    await startWriting(b, "b");
    await until("writing", async () => (await written(b)) > 20);
    const session = await a.createCDPSession();
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    const after = await written(b);
    await until("writing goes on", async () => (await written(b)) > after + 50);
    await session.send("Page.setWebLifecycleState", { state: "active" });
    await add(a, "thawed");
    const { written: ids, failed } = await stopWriting(b);
    assert.deepEqual(failed, []);
    await checkNotes(b, [...ids, "thawed"]);
    await closeTabs();
  });

  test("a reload keeps what was durable", async () => {
    const id = fresh();
    const a = await tab();
    for (let time = 0; time < 3; time += 1) {
      assert.equal(await open(a, id), "open");
      await add(a, `note-${time}`);
      assert.equal((await notes(a)).length, time + 1);
      await tabs.reload(a);
    }
    await closeTabs();
  });

  test("files that somebody holds are waited for, and told as blocked", async () => {
    const id = fresh();
    const a = await tab();
    await evaluate(
      a,
      (id) =>
        new Promise((resolve, reject) => {
          window.holder = new Worker("holder.js");
          window.holder.onmessage = resolve;
          window.holder.onerror = () => reject(new Error("the holder failed"));
          window.holder.postMessage(id);
        }).then(() => undefined),
      id,
    );
    await startOpening(a, id);
    const blocked = () =>
      evaluate(a, () => window.statuses.some((status) => status.storage.reason?.code === "blocked"));
    await until("it is told", blocked);
    assert.equal(await evaluate(a, () => window.doc === undefined), true);
    await evaluate(a, () => window.holder.terminate());
    await until("it opens", () => evaluate(a, () => window.doc?.status.ready));
    assert.equal(await evaluate(a, () => window.doc.status.storage.reason), null);
    await add(a, "x");
    await closeTabs();
  });

  test("another deploy's hub waits for the first one's end, and has everything then", async () => {
    const id = fresh();
    const a = await tab("a");
    assert.equal(await open(a, id), "open");
    await add(a, "first");
    const b = await tab("b");
    await startOpening(b, id);
    const blocked = () =>
      evaluate(b, () => window.statuses.some((status) => status.storage.reason?.code === "blocked"));
    await until("it is told", blocked);
    await add(a, "second");
    await close(a);
    await until("b opens", () => evaluate(b, () => window.doc?.status.ready));
    assert.deepEqual(await notes(b), ["first", "second"]);
    await closeTabs();
  });

  test("what cannot be opened says why, and the next open is a new attempt", async () => {
    const nowhere = await tab("nowhere");
    assert.equal(await open(nowhere, fresh()), "storage_unavailable");
    assert.equal(await open(nowhere, fresh()), "storage_unavailable");
    for (const folder of ["no-hub", "no-disk", "no-wasm"]) {
      const page = await tab(folder);
      assert.equal(await open(page, fresh()), "not_loaded", folder);
      const message = await evaluate(page, () => window.failure.message);
      assert.match(message, folder === "no-wasm" ? /wasmUrl/ : /optimizeDeps.*workerUrl/);
      // The folder may be named instead.
      const id = fresh();
      const options = folder === "no-wasm" ? { wasmUrl: "/a/offprint.wasm" } : { workerUrl: "/a/" };
      assert.equal(await open(page, id, options), "open", folder);
      await add(page, "x");
      await close(page);
    }
    const a = await tab();
    assert.equal(await open(a, "a/b"), "bad_document_id");
    assert.equal(await open(a, fresh(), { server: "ftp://x" }), "bad_argument");
    for (const id of [".", "..", "~", "-"]) assert.equal(await open(a, id), "open", id);
    await closeTabs();
  });

  test("a tab that disagrees with the first is refused until the others have gone", async () => {
    const id = fresh();
    const [a, b] = [await tab(), await tab()];
    assert.equal(await open(a, id), "open");
    assert.equal(await open(b, id, { other: true }), "definition_mismatch");
    assert.equal(await open(b, id, { server: "ws://127.0.0.1:9" }), "bad_state");
    await add(a, "x");
    await close(a);
    assert.equal(await open(b, id, { server: "ws://127.0.0.1:9" }), "open");
    await until("it is offline", () => evaluate(b, () => window.doc.status.connection === "offline"));
    const { pending, connectionProblem } = await evaluate(b, () => window.doc.status);
    assert.equal(connectionProblem?.code, "unreachable");
    await add(b, "y");
    assert.equal((await evaluate(b, () => window.doc.status)).pending, pending + 1);
    await closeTabs();
  });

  test("closing settles what is open, hands the disk back, and the document can be opened again", async () => {
    const id = fresh();
    const [a, b] = [await tab(), await tab()];
    for (const page of [a, b]) assert.equal(await open(page, id), "open");
    const ends = await evaluate(a, async () => {
      const { doc } = window;
      const write = doc.mutate.add({ id: "last", tab: "a" });
      await Promise.all([doc.close(), doc.close()]);
      const code = (promise) => promise.then(() => "fine").catch((error) => error.code);
      const late = doc.mutate.add({ id: "late", tab: "a" });
      const query = doc.query(window.offprint.sql`SELECT 1`);
      return Promise.all([code(write.durable), code(late.applied), code(query), code(doc.close())]);
    });
    assert.deepEqual(ends, ["fine", "closed", "closed", "fine"]);
    await add(b, "after");
    assert.equal(await open(a, id), "open");
    assert.deepEqual(sorted(await notes(a)), ["after", "last"]);
    await close(a);
    await close(b);
    for (let time = 0; time < 3; time += 1) {
      assert.equal(await open(a, id), "open");
      await add(a, `again-${time}`);
      await close(a);
    }
    assert.deepEqual(await evaluate(a, () => window.errors), []);
    await closeTabs();
  });
});
