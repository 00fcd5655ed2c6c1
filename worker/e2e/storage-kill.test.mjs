// A browser is killed again and again while it writes. OFFPRINT_KILLS says how often; the long form is 200.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName, Profile } from "../../demo/e2e/lib/profile.mjs";
import { random, seed } from "../../demo/e2e/lib/random.mjs";
import { open, wrong } from "./lib/notes.mjs";
import { site } from "./lib/site.mjs";

const KILLS = Number(process.env.OFFPRINT_KILLS ?? 10);
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
    const reported = (folder) => served.reports().filter((id) => id.startsWith(`${folder}-`));
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
    const check = async (pages) => {
      for (const [folder, page] of Object.entries(pages)) {
        const { reason } = await page.evaluate(() => window.doc.status.storage);
        const found = await wrong(page, reported(folder));
        const told = `${folder}, and the page is told ${JSON.stringify(reason)}`;
        assert.deepEqual(found, { lost: [], holes: [], twice: 0 }, told);
        assert.ok(reason === null || reason.code === "storage_unavailable", JSON.stringify(reason));
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
    t.diagnostic(`${KILLS} kills, durable mutations reported: ${counts.join(", ")}`);
    await profile.kill();
  });
});
