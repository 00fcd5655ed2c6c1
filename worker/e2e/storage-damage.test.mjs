// Files that the device has damaged.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { within } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { close, evaluate, notes, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

/** A server that does not answer: what is written stays pending. */
const NOWHERE = { server: "ws://127.0.0.1:9" };

describe(`storage that is damaged, in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start();
  });
  after(() => tabs?.end());

  test("storage: a damaged document opens with what is left, though its replay takes long, and tells of it", async () => {
    const id = tabs.fresh();
    const page = await tabs.tab();
    assert.equal(await open(page, id, NOWHERE), "open");
    const count = 12_000;
    await within(
      60,
      "many mutations are durable",
      page.evaluate(async (count) => {
        const notes = Array.from({ length: count }, (_, n) => ({ id: `note-${n}`, tab: "x" }));
        await Promise.all(notes.map((note) => window.doc.mutate.add(note).durable));
        // Behind a flush of its own: what lies before it was flushed, so its loss is damage.
        await window.doc.mutate.add({ id: "last", tab: "x" }).durable;
      }, count),
    );
    await close(page);
    await evaluate(
      page,
      async (id) => {
        let directory = await navigator.storage.getDirectory();
        for (const name of ["offprint", `${id}.offprint`])
          directory = await directory.getDirectoryHandle(name);
        for (const name of ["log-0", "log-1"]) {
          const file = await directory.getFileHandle(name);
          const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer());
          const end = bytes.findLastIndex((byte) => byte !== 0);
          if (end < 100_000) continue;
          bytes.fill(0xa5, end - 20_000, end - 19_900);
          const stream = await file.createWritable();
          await stream.write(bytes);
          await stream.close();
        }
      },
      id,
    );
    assert.equal(await open(page, id, NOWHERE), "open");
    const told = await evaluate(
      page,
      () => window.statuses.filter(({ ready }) => !ready).at(-1).storage.reason,
    );
    assert.equal(told?.code, "corrupt");
    assert.equal((await evaluate(page, () => window.doc.status.storage.reason))?.code, "corrupt");
    const left = (await notes(page)).length;
    assert.ok(left > 9_000 && left < count, `${left} are left`);
    await close(page);
    assert.equal(await open(page, id, NOWHERE), "open");
    assert.equal(await evaluate(page, () => window.doc.status.storage.reason), null);
    assert.equal((await notes(page)).length, left);
    assert.deepEqual(await evaluate(page, () => window.errors), []);
    await tabs.closeTabs();
  });
});
