// A network that says nothing at all, and pages that know better than a back-off when to try again.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { Network } from "./lib/network.mjs";
import { add, evaluate, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

/** After so many attempts in vain the next comes in 15 to 30 s, unless somebody asks for it. */
const ATTEMPTS = 7;
const LEAST_WAIT = 15_000;

describe(`a server out of reach, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-sync-"));
  let tabs;
  let server;
  let network;

  before(async () => {
    server = await new Server(writeDefinition(folder)).start();
    tabs = await Tabs.start();
  });
  beforeEach(async () => {
    network = await Network.to(server.port);
  });
  afterEach(async () => {
    await tabs.closeTabs();
    await network.close();
  });
  after(async () => {
    await tabs?.end();
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  async function opened() {
    const page = await tabs.tab();
    assert.equal(await open(page, tabs.fresh(), { server: network.url }), "open");
    await says(page, { connection: "online" });
    return page;
  }

  /** Waits until the status says all of this. */
  const says = (page, wanted, options) =>
    until(
      `the status says ${JSON.stringify(wanted)}`,
      async () => {
        const status = await evaluate(page, () => window.doc.status);
        return Object.entries(wanted).every(([name, value]) => status[name] === value) || { not: status };
      },
      options,
    );

  /** Takes the server away until the next attempt is far off, and gives it back. */
  async function farApart(page) {
    const before = network.taken.length;
    network.refuse();
    await until("attempts are far apart", () => network.taken.length >= before + ATTEMPTS, { seconds: 120 });
    await says(page, { connection: "offline" });
    network.pass();
    return network.taken.length;
  }

  async function triedAtOnce(page, before) {
    await says(page, { connection: "online" });
    const waited = network.taken[before] - network.taken[before - 1];
    assert.ok(waited < LEAST_WAIT, `it was tried after ${waited} ms, as it would have been anyway`);
  }

  test("sync: a connection on which nothing comes any more is given up and made anew", async () => {
    const page = await opened();
    const before = network.taken.length;
    network.swallow();
    await add(page, "into nothing");
    await says(page, { connection: "online", pending: 1 });
    // Nobody closes it: the silence has to be noticed, which takes 30 s.
    await says(page, { connection: "online", pending: 0 }, { seconds: 90 });
    assert.equal(network.taken.length, before + 1);
  });

  test("sync: a connection that never opens is given up and made anew", async () => {
    const page = await opened();
    const before = network.taken.length;
    network.hang();
    await until("it is tried again", () => network.taken.length > before);
    network.pass();
    await says(page, { connection: "online" }, { seconds: 90 });
  });

  test("sync: a page that comes online tries the server at once", {
    skip: browserName !== "chromium" && "only Chromium lets a test cut off a page",
  }, async () => {
    const page = await opened();
    await page.setOfflineMode(true);
    const before = await farApart(page);
    await page.setOfflineMode(false);
    await triedAtOnce(page, before);
  });

  test("sync: a page that is looked at again tries the server at once", async () => {
    const page = await opened();
    const other = await tabs.tab();
    await other.bringToFront();
    await until("the page is hidden", () => evaluate(page, () => document.visibilityState === "hidden"));
    const before = await farApart(page);
    await page.bringToFront();
    await triedAtOnce(page, before);
  });
});
