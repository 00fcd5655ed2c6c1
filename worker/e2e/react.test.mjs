// The hooks under StrictMode, in a development build: every effect runs twice.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName, Profile } from "../../demo/e2e/lib/profile.mjs";
import { evaluate } from "./lib/notes.mjs";
import { site } from "./lib/site.mjs";

describe(`hooks in ${browserName}`, () => {
  let served;
  let profile;
  let page;

  before(async () => {
    served = await site();
    profile = await new Profile().start();
    page = await profile.open(served.url("react"));
    await until("the app is there", () => page.evaluate(() => window.show !== undefined));
  });
  after(async () => {
    await profile?.remove();
    await served?.close();
  });

  const show = (ids, above = "") =>
    evaluate(page, (state) => window.show(state), { ids, above, options: {}, attempt: 0 });
  const text = () =>
    evaluate(page, () =>
      Array.from(document.querySelectorAll("p"), ({ textContent }) => textContent).join("|"),
    );
  const shows = (expected) =>
    until(`it shows ${expected}`, async () => {
      const now = await text();
      return now === expected ? true : { not: now };
    });
  const open = () =>
    evaluate(page, async () => {
      const { held } = await navigator.locks.query();
      return held.map(({ name }) => name).filter((name) => name.startsWith("offprint|tab|")).length;
    });

  test("a document opens once for all that use it, and rows follow the statement and the writes", async () => {
    await show(["d", "d"]);
    await shows("|");
    assert.equal(await open(), 1);
    for (const id of ["a", "b", "c"]) await evaluate(page, (id) => window.doc.mutate.add({ id }).durable, id);
    await shows("a,b,c|a,b,c");
    await show(["d", "d"], "a");
    await shows("b,c|b,c");
    const same = await evaluate(page, async () => {
      const [before] = window.rows;
      await window.doc.mutate.add({ id: "d" });
      while (window.rows.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
      return window.rows[0] === before;
    });
    assert.equal(same, true);
  });

  test("a document is closed after its last user, and not when one comes back at once", async () => {
    const before = await evaluate(page, () => {
      window.first = window.doc;
      window.show({ ids: [], above: "", options: {}, attempt: 0 });
      return new Promise((resolve) => setTimeout(resolve, 100)).then(() => {
        window.show({ ids: ["d"], above: "", options: {}, attempt: 0 });
        return window.first.status.ready;
      });
    });
    assert.equal(before, true);
    await shows("a,b,c,d");
    assert.equal(await evaluate(page, () => window.doc === window.first), true);
    await show([]);
    await until("it is closed", async () => (await open()) === 0);
    await show(["d"]);
    await shows("a,b,c,d");
    assert.equal(await evaluate(page, () => window.doc === window.first), false);
  });

  test("another id is another document, and one that cannot be opened says so", async () => {
    await show(["e"]);
    await shows("");
    await show(["not/a/name", "d"]);
    await shows("bad_document_id|a,b,c,d");
    await show([]);
    await until("all are closed", async () => (await open()) === 0);
  });

  test("one that could not be opened is opened anew, with other options, by components with another key", async () => {
    const attempt = (attempt, file) =>
      evaluate(
        page,
        ({ attempt, file }) => {
          const options = file === undefined ? {} : { import: new Blob([file]) };
          window.show({ ids: ["f", "f"], above: "", options, attempt });
        },
        { attempt, file },
      );
    await attempt(1, "no database");
    await shows("bad_file|bad_file");
    await attempt(1);
    assert.equal(await text(), "bad_file|bad_file");
    await attempt(2);
    await shows("|");
    await show([]);
    await until("it is closed", async () => (await open()) === 0);
  });
});
