// A document that had no server meets a real one: with nothing of its name, or with another history.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName, Profile } from "../../demo/e2e/lib/profile.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { add, evaluate, notes, open, says } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

describe(`a document that had no server, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-attach-"));
  let tabs;
  let elsewhere;
  let server;

  before(async () => {
    server = await new Server(writeDefinition(folder)).start();
    tabs = await Tabs.start();
    elsewhere = new Tabs(tabs.served, await new Profile().start());
  });
  afterEach(async () => {
    await tabs.closeTabs();
    await elsewhere.closeTabs();
  });
  after(async () => {
    await elsewhere?.profile.remove();
    await tabs?.end();
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Writes until the document has a history of its own, closes it, and gives how many notes it has. */
  async function makeLocal(id) {
    const page = await tabs.tab();
    assert.equal(await open(page, id), "open");
    await evaluate(page, async () => {
      // What comes while the first log is begun is part of its beginning: how much makes a checkpoint due differs.
      for (let no = 0; !window.doc.status.local; no += 100) {
        const writes = Array.from({ length: 100 }, (_, at) =>
          window.doc.mutate.add({ id: `local-${no + at}`, tab: "x".repeat(4000) }),
        );
        await Promise.all(writes.map((write) => write.confirmed));
      }
    });
    await add(page, "last", "confirmed");
    const status = await evaluate(page, () => window.doc.status);
    assert.deepEqual([status.local, status.pending, status.connection], [true, 0, "none"]);
    const { length } = await notes(page);
    await evaluate(page, () => window.doc.close());
    await tabs.closeTabs();
    return length;
  }

  test("sync: a device's own document becomes the server's where that has none, with all that was made", async () => {
    const id = tabs.fresh();
    const made = await makeLocal(id);
    const page = await tabs.tab();
    assert.equal(await open(page, id, { server: server.url }), "open");
    await says(page, { connection: "online", local: false, pending: 0 });
    await add(page, "with the server", "confirmed");

    const other = await elsewhere.tab();
    assert.equal(await open(other, id, { server: server.url }), "open");
    await until("the other profile has all", async () => (await notes(other)).length === made + 1);
    assert.deepEqual(await notes(other), await notes(page));
  });

  test("sync: a device's own document fails to open with diverged where the server has another, and takes that when it is told to", async () => {
    const id = tabs.fresh();
    const other = await elsewhere.tab();
    assert.equal(await open(other, id, { server: server.url }), "open");
    await add(other, "the server's", "confirmed");
    const made = await makeLocal(id);

    const page = await tabs.tab();
    assert.equal(await open(page, id, { server: server.url }), "diverged");
    assert.equal(await open(page, id), "open");
    assert.equal((await notes(page)).length, made);
    await evaluate(page, () => window.doc.close());
    assert.equal(await open(page, id, { server: server.url, onDiverged: "takeServers" }), "open");
    assert.deepEqual(await notes(page), ["the server's"]);
    await add(page, "mine", "confirmed");
    await until("the other sees it", async () => (await notes(other)).includes("mine"));
  });
});
