// What an app does about rejections, and the document's end right after that.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { Network } from "./lib/network.mjs";
import { evaluate, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const IDS = ["one", "two", "three"];

describe(`rejections, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-dismiss-"));
  let tabs;
  let server;
  let network;

  before(async () => {
    server = await new Server(writeDefinition(folder)).start();
    network = await Network.to(server.port);
    tabs = await Tabs.start();
  });
  after(async () => {
    await tabs?.end();
    await network?.close();
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  const rejections = (page) => evaluate(page, () => window.doc.rejections.map(({ args }) => args.id));

  for (const [site, kind] of [
    ["a", "opfs"],
    ["absent", "indexedDb"],
  ]) {
    test(`sync: what was dismissed in ${kind} stays so when the document is closed at once`, async () => {
      const id = tabs.fresh();
      network.refuse();
      const page = await tabs.tab(site);
      assert.equal(await open(page, id, { server: network.url }), "open");
      await evaluate(
        page,
        (ids) => Promise.all(ids.map((id) => window.doc.mutate.once({ id }).durable)),
        IDS,
      );
      for (const note of IDS) await server.mutate(id, "once", { id: note });
      network.pass();
      await evaluate(page, () => window.doc.reconnect());
      await until("they are rejected", async () => (await rejections(page)).length === IDS.length);
      await evaluate(page, async () => {
        for (const { seq } of window.doc.rejections) await window.doc.dismiss(seq);
        await window.doc.close();
      });
      network.refuse();
      assert.equal(await open(page, id, { server: network.url }), "open");
      assert.deepEqual(await rejections(page), []);
      await tabs.closeTabs();
    });
  }
});
