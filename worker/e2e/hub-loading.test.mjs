// Where the workers come from, and what happens when they do not come.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { add, evaluate, hubs, notes, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

describe(`workers that are loaded, in ${browserName}`, () => {
  let tabs;

  before(async () => {
    tabs = await Tabs.start();
  });
  afterEach(async () => {
    tabs.served.withheld.clear();
    await tabs.closeTabs();
  });
  after(() => tabs?.end());

  const reason = (page) => evaluate(page, () => window.doc.status.storage.reason?.code ?? null);
  const says = (page, code) =>
    until(`its storage tells ${code}`, async () => {
      const now = await reason(page);
      return now === code || { not: now };
    });

  /** Begins a write, which `outcome` tells of. */
  const begin = (page, id) =>
    evaluate(
      page,
      (id) => {
        window.outcome = "waiting";
        window.doc.mutate.add({ id, tab: "x" }).durable.then(
          () => {
            window.outcome = "durable";
          },
          (error) => {
            window.outcome = error.code;
          },
        );
      },
      id,
    );
  const outcome = (page) => evaluate(page, () => window.outcome);
  const isDurable = (page) =>
    until("it is durable", async () => {
      const now = await outcome(page);
      return now === "durable" || { not: now };
    });

  test("storage: a tab whose disk does not load for a while writes again when it does, though it is the only one", async () => {
    const id = tabs.fresh();
    const [lender, page] = [await tabs.tab(), await tabs.tab()];
    for (const one of [lender, page]) assert.equal(await open(one, id), "open");
    await add(page, "before");
    tabs.served.withheld.set("disk.js", 0);
    await lender.close();
    await says(page, "not_loaded");
    await begin(page, "meanwhile");
    assert.equal(await outcome(page), "waiting");
    tabs.served.withheld.clear();
    await isDurable(page);
    assert.equal(await reason(page), null);
    assert.deepEqual(await notes(page), ["before", "meanwhile"]);
  });

  test("storage: a document that is open waits for the module of another hub, and keeps what it was told", async () => {
    const id = tabs.fresh();
    const [page, other] = [await tabs.tab("trap"), await tabs.tab("trap")];
    for (const one of [page, other]) assert.equal(await open(one, id), "open");
    await add(page, "before");
    const { withheld } = tabs.served;
    withheld.set("offprint.wasm", 0);
    const [trapped] = await hubs(page);
    await evaluate(other, () => new BroadcastChannel("trap").postMessage(null));
    await until("the hub is gone", async () => {
      // It traps at the next thing that it is asked.
      await evaluate(other, () => void window.doc.query(window.offprint.sql`SELECT 1`));
      return !(await hubs(page)).includes(trapped);
    });
    for (const one of [page, other]) await says(one, "not_loaded");
    await begin(page, "meanwhile");
    const before = withheld.get("offprint.wasm");
    await until("the module was looked for again", () => withheld.get("offprint.wasm") > before + 1);
    assert.equal(await outcome(page), "waiting");
    withheld.clear();
    await isDurable(page);
    for (const one of [page, other]) {
      await says(one, null);
      assert.deepEqual(await notes(one), ["before", "meanwhile"]);
    }
  });

  test("storage: workers that the app makes itself keep a document", async () => {
    const page = await tabs.tab();
    const made = await evaluate(
      page,
      async (id) => {
        const { open, definition } = window.offprint;
        const made = [];
        const workerFactory = {
          hub: (name) => {
            made.push("hub");
            return new SharedWorker("/b/hub.js", { type: "module", name });
          },
          disk: () => {
            made.push("disk");
            return new Worker("/b/disk.js", { type: "module" });
          },
        };
        window.doc = await open(definition, id, { workerFactory });
        await window.doc.mutate.add({ id: "mine", tab: "x" });
        return made;
      },
      tabs.fresh(),
    );
    assert.deepEqual([...new Set(made)].sort(), ["disk", "hub"]);
    assert.deepEqual(await notes(page), ["mine"]);
  });

  test("storage: a page that is cross-origin isolated keeps a document", async () => {
    const id = tabs.fresh();
    const page = await tabs.tab("isolated");
    assert.equal(await evaluate(page, () => crossOriginIsolated), true);
    assert.equal(await open(page, id), "open");
    await add(page, "mine");
    await tabs.reload(page);
    assert.equal(await open(page, id), "open");
    assert.deepEqual(await notes(page), ["mine"]);
    assert.equal(await evaluate(page, () => window.doc.status.storage.kind), "opfs");
  });
});
