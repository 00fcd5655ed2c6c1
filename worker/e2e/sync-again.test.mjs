// Pages that know better than a back-off when to try the server again.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { evaluate, says } from "./lib/notes.mjs";
import { Reach } from "./lib/reach.mjs";

/** After so many attempts in vain the next comes in 15 to 30 s, unless somebody asks for it. */
const ATTEMPTS = 7;
const LEAST_WAIT = 15_000;

describe(`a server that is back, in ${browserName}`, () => {
  const reach = new Reach();

  /** Takes the server away until the next attempt is far off, and gives it back. */
  async function farApart(page) {
    const { network } = reach;
    const before = network.taken.length;
    network.refuse();
    await until("attempts are far apart", () => network.taken.length >= before + ATTEMPTS, { seconds: 120 });
    await says(page, { connection: "offline" });
    network.pass();
    return network.taken.length;
  }

  async function triedAtOnce(page, before) {
    await says(page, { connection: "online" });
    const { taken } = reach.network;
    const waited = taken[before] - taken[before - 1];
    assert.ok(waited < LEAST_WAIT, `it was tried after ${waited} ms, as it would have been anyway`);
  }

  test("sync: a page that comes online tries the server at once", {
    skip: browserName !== "chromium" && "only Chromium lets a test cut off a page",
  }, async () => {
    const page = await reach.opened();
    await page.setOfflineMode(true);
    const before = await farApart(page);
    await page.setOfflineMode(false);
    await triedAtOnce(page, before);
  });

  test("sync: a page that is looked at again tries the server at once", async () => {
    const page = await reach.opened();
    const other = await reach.tabs.tab();
    await other.bringToFront();
    await until("the page is hidden", () => evaluate(page, () => document.visibilityState === "hidden"));
    const before = await farApart(page);
    await page.bringToFront();
    await triedAtOnce(page, before);
  });
});
