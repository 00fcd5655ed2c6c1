// A device that is full, with the browser's own quota.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until, within } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { add, evaluate, notes, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

const QUOTA = 24 << 20;

/** Takes all room that is left, in a file of the private file system; or gives it back. */
const filler = (page, take) =>
  within(
    60,
    "the filler is done",
    page.evaluate(
      (take) =>
        new Promise((resolve, reject) => {
          const fill = async (take) => {
            const root = await navigator.storage.getDirectory();
            if (!take) return root.removeEntry("filler");
            const file = await root.getFileHandle("filler", { create: true });
            const handle = await file.createSyncAccessHandle();
            let at = 0;
            for (let step = 1 << 20; step >= 4096; ) {
              let count = 0;
              try {
                count = handle.write(new Uint8Array(step), { at });
              } catch {
                // Full, as some browsers say it.
              }
              if (count === step) at += step;
              else step /= 2;
            }
            handle.flush();
            handle.close();
            return at;
          };
          const text = `const fill = ${fill}; fill(${take}).then((at) => postMessage({ at }), (error) => postMessage({ error: String(error) }));`;
          const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
          worker.onmessage = ({ data }) => {
            worker.terminate();
            if (data.error) reject(new Error(data.error));
            else resolve(data.at);
          };
        }),
      take,
    ),
  );

describe(`storage that is full, in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start({ prefs: { "dom.quotaManager.temporaryStorage.fixedLimit": (5 * QUOTA) >> 10 } });
  });
  after(() => tabs?.end());

  async function limit(page) {
    if (browserName !== "chromium") return;
    const session = await page.createCDPSession();
    const { origin } = new URL(tabs.served.url("a"));
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: QUOTA });
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

    await within(30, "reload", page.reload());
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
});
