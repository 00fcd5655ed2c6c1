// A newer definition lacks a mutator that older tabs have queued.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { add, evaluate, notes } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const insert = "INSERT INTO note (id, tab) VALUES (:id, :tab)";
const older = {
  name: "notes",
  migrations: ["CREATE TABLE note (id TEXT NOT NULL, tab TEXT NOT NULL)"],
  mutators: { add: { sql: insert }, create: { sql: insert }, wipe: { sql: "DELETE FROM note" } },
};
/** `create` has another name, and there is no `wipe` any more. */
const newer = {
  ...older,
  migrations: [...older.migrations, "CREATE TABLE tag (name TEXT NOT NULL)"],
  mutators: { add: { sql: insert }, make: { sql: insert } },
};

describe(`a definition without a mutator that was queued, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-upgrade-"));
  const file = join(folder, "notes.json");
  let tabs;
  let server;

  before(async () => {
    server = new Server(file);
    tabs = await Tabs.start();
  });
  afterEach(() => tabs.closeTabs());
  after(async () => {
    await tabs?.end();
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  const openAs = (page, id, definition, options) =>
    evaluate(
      page,
      async ({ id, definition, options }) => {
        const { defineDocument, open } = window.offprint;
        window.doc = await open(defineDocument(definition), id, options);
      },
      { id, definition, options },
    );

  const mutate = (page, name, args) =>
    evaluate(page, ({ name, args }) => window.doc.mutate[name](args).durable, { name, args });

  const says = (page, wanted) =>
    until(`it says ${JSON.stringify(wanted)}`, async () => {
      const { connection, connectionProblem, pending } = await evaluate(page, () => window.doc.status);
      const told = { connection, problem: connectionProblem?.code ?? null, pending };
      return JSON.stringify(told) === JSON.stringify(wanted) || { not: told };
    });

  const rejections = (page) =>
    evaluate(page, () => window.doc.rejections.map(({ name, args, code }) => [name, args.id ?? null, code]));

  test("sync: what only the older one could run is rejected, and everything else is confirmed", async () => {
    const id = tabs.fresh();
    writeFileSync(file, JSON.stringify(older));
    await server.start();
    const options = { server: server.url };
    const page = await tabs.tab();
    await openAs(page, id, older, options);
    await mutate(page, "create", { id: "before", tab: "x" });
    await says(page, { connection: "online", problem: null, pending: 0 });
    await server.kill();
    await mutate(page, "add", { id: "one", tab: "x" });
    await mutate(page, "wipe");
    await mutate(page, "create", { id: "two", tab: "x" });
    await add(page, "three");
    assert.deepEqual(await notes(page), ["two", "three"]);

    // The tab's upgrade comes first: nothing is decided before the server's.
    await tabs.reload(page);
    await openAs(page, id, newer, options);
    await mutate(page, "make", { id: "four", tab: "x" });
    await server.start();
    await evaluate(page, () => window.doc.reconnect());
    await says(page, { connection: "offline", problem: "definition_mismatch", pending: 5 });
    assert.deepEqual(await notes(page), ["before", "one", "three", "four"]);
    assert.deepEqual(await rejections(page), []);

    await server.kill();
    writeFileSync(file, JSON.stringify(newer));
    await server.start();
    await evaluate(page, () => window.doc.reconnect());
    await says(page, { connection: "online", problem: null, pending: 0 });
    const rejected = [
      ["wipe", null, "unknown_mutator"],
      ["create", "two", "unknown_mutator"],
    ];
    const kept = ["before", "one", "three", "four"];
    const check = async (page) => {
      assert.deepEqual(await rejections(page), rejected);
      assert.deepEqual(await notes(page), kept);
      assert.deepEqual(await server.column(id, "SELECT id FROM note ORDER BY rowid"), kept);
    };
    await check(page);

    // They are told until the app has dealt with them, and this device cannot make them again.
    await tabs.reload(page);
    await openAs(page, id, newer, options);
    await check(page);
    const code = await evaluate(page, () =>
      window.doc.retry(window.doc.rejections[0].seq).durable.catch((error) => error.code),
    );
    assert.equal(code, "unknown_mutator");
    await check(page);
    await evaluate(page, async () => {
      for (const { seq } of window.doc.rejections) await window.doc.dismiss(seq);
      await window.doc.close();
    });
    rejected.length = 0;
    await tabs.reload(page);
    await openAs(page, id, newer, options);
    await check(page);
    assert.deepEqual(await evaluate(page, () => window.errors), []);
  });

  test("storage: what a document without a server confirmed is there under the newer one, too", async () => {
    const id = tabs.fresh();
    const page = await tabs.tab();
    await openAs(page, id, older);
    await mutate(page, "add", { id: "one", tab: "x" });
    await evaluate(page, () => window.doc.mutate.create({ id: "two", tab: "x" }).confirmed);
    await tabs.reload(page);
    await openAs(page, id, newer);
    assert.deepEqual(await notes(page), ["one", "two"]);
    assert.deepEqual(await rejections(page), []);
  });
});
