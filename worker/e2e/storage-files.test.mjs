// One suite for every kind of disk, in a real browser's worker.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { within } from "../../demo/e2e/lib/poll.mjs";
import { browserName, Profile } from "../../demo/e2e/lib/profile.mjs";
import { seed } from "../../demo/e2e/lib/random.mjs";
import { site } from "./lib/site.mjs";

/** Has the suite's worker do something. */
const ask = (page, question) =>
  within(
    60,
    JSON.stringify(question),
    page.evaluate(
      (question) =>
        new Promise((resolve, reject) => {
          window.suite ??= new Worker("files-suite.js", { type: "module" });
          window.suite.onmessage = ({ data }) => resolve(data);
          window.suite.onerror = (event) => reject(new Error(event.message));
          window.suite.postMessage(question);
        }),
      question,
    ),
  );

for (const kind of ["opfs", "indexedDb", "memory"]) {
  describe(`storage in ${kind}, ${browserName}`, () => {
    let served;
    let profile;
    let page;

    before(async () => {
      served = await site();
      profile = await new Profile().start();
      page = await profile.open(served.url("a"));
    });
    after(async () => {
      await profile?.remove();
      await served?.close();
    });

    test("keeps what it is given", async (t) => {
      t.diagnostic(`seed ${seed}`);
      const { names } = await ask(page, "names");
      assert.ok(names.length > 10);
      for (const name of names) {
        await t.test(name, async () => {
          const { passed, why } = await ask(page, { kind, name, seed });
          assert.ok(passed, why);
        });
      }
    });
  });
}
