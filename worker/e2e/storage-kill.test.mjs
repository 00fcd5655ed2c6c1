// A browser is killed again and again while it writes. OFFPRINT_KILLS says how often; the long form is 200.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName, Profile } from "../../demo/e2e/lib/profile.mjs";
import { random, seed } from "../../demo/e2e/lib/random.mjs";
import { notes, open, wrong } from "./lib/notes.mjs";
import { site } from "./lib/site.mjs";

const KILLS = Number(process.env.OFFPRINT_KILLS ?? 10);
// Chromium's IndexedDB does not always read what it wrote when it was killed, and then deletes all of it
// (ARCHITECTURE.md, "IndexedDB is the weaker disk"): nothing can be kept there, but it has to be told.
const THROWN_AWAY = /could not read this site's databases and threw them away/;
const FOLDERS = { a: "opfs", absent: "indexedDb" };

/** Writes notes and reports each that is durable, until the browser ends. */
const startReporting = (page, prefix) =>
  page.evaluate((prefix) => {
    let outbox = [];
    let posting = false;
    const report = async () => {
      if (posting) return;
      posting = true;
      while (outbox.length > 0) {
        const words = outbox.map((id) => `${id} `).join("");
        outbox = [];
        await fetch("report", { method: "POST", body: words });
      }
      posting = false;
    };
    const write = async (writer) => {
      for (let n = 0; ; n += 1) {
        const id = `${prefix}-${writer}-${n}`;
        await window.doc.mutate.add({ id, tab: "x".repeat((n * 37) % 400) });
        outbox.push(id);
        report();
      }
    };
    for (const writer of [0, 1, 2]) write(writer);
  }, prefix);

describe(`storage and kill -9 of ${browserName}`, () => {
  let served;
  let profile;
  before(async () => {
    served = await site();
    profile = new Profile();
  });
  after(async () => {
    await profile?.remove();
    await served?.close();
  });

  test(`storage: ${KILLS} kills lose nothing that was reported as durable`, {
    timeout: KILLS * 60_000,
  }, async (t) => {
    t.diagnostic(`seed ${seed}`);
    const choose = random(seed);
    const thrownAway = new Set();
    const reported = (folder) =>
      served.reports().filter((id) => id.startsWith(`${folder}-`) && !thrownAway.has(id));
    const openAll = async () => {
      await profile.start();
      const pages = {};
      for (const [folder, kind] of Object.entries(FOLDERS)) {
        const page = await profile.open(served.url(folder));
        await until("the page is ready", () => page.evaluate(() => window.offprint !== undefined));
        assert.equal(await open(page, `kill-${folder}`), "open");
        assert.equal(await page.evaluate(() => window.doc.status.storage.kind), kind);
        pages[folder] = page;
      }
      return pages;
    };
    let losses = 0;
    const check = async (pages) => {
      for (const [folder, page] of Object.entries(pages)) {
        const { reason } = await page.evaluate(() => window.doc.status.storage);
        const told = `${folder}, and the page is told ${JSON.stringify(reason)}`;
        if (FOLDERS[folder] === "indexedDb" && THROWN_AWAY.test(reason.message)) {
          assert.equal(reason.code, "storage_cleared", told);
          assert.deepEqual(await notes(page), [], told);
          for (const id of reported(folder)) thrownAway.add(id);
          losses += 1;
          continue;
        }
        const found = await wrong(page, reported(folder));
        assert.deepEqual(found, { lost: [], holes: [], twice: 0 }, told);
        assert.ok(reason === null || reason.code === "storage_unavailable", told);
      }
    };
    for (let kill = 0; kill < KILLS; kill += 1) {
      const pages = await openAll();
      await check(pages);
      const before = Object.keys(FOLDERS).map((folder) => reported(folder).length);
      for (const [folder, page] of Object.entries(pages)) await startReporting(page, `${folder}-${kill}`);
      await until("both write", () =>
        Object.keys(FOLDERS).every((folder, at) => reported(folder).length > before[at]),
      );
      await delay(choose.below(400));
      await profile.kill();
    }
    await check(await openAll());
    const counts = Object.keys(FOLDERS).map((folder) => `${reported(folder).length} in ${FOLDERS[folder]}`);
    t.diagnostic(`${KILLS} kills, durable mutations reported and kept: ${counts.join(", ")}`);
    assert.ok(losses <= 2 + KILLS / 20, `${losses} losses of ${KILLS} kills are not the browser's alone`);
    t.diagnostic(`${losses} times ${browserName} threw its IndexedDB away, and said so`);
    await profile.kill();
  });
});
