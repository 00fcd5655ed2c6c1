// Asking the browser to keep the origin's storage.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { add, close, evaluate, open } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

/** Counts the questions. Whatever a driver runs in a page is a person's doing to it, so clicks are counted instead. */
const spy = () => {
  window.asked = 0;
  let hasBeenActive = false;
  addEventListener("mousedown", () => {
    hasBeenActive = true;
  });
  Object.defineProperty(navigator, "userActivation", { get: () => ({ hasBeenActive }) });
  const persist = navigator.storage.persist.bind(navigator.storage);
  navigator.storage.persist = () => {
    window.asked += 1;
    return persist();
  };
};

const persisted = (page, value) =>
  until(`persisted is ${value}`, () =>
    evaluate(page, (value) => window.doc.status.storage.persisted === value, value),
  );

describe(`storage that is to stay, in ${browserName}`, () => {
  let tabs;
  before(async () => {
    tabs = await Tabs.start({
      prefs: { "dom.storageManager.prompt.testing": true, "dom.storageManager.prompt.testing.allow": true },
    });
  });
  after(() => tabs?.end());

  /** Lets the browser say yes when it is asked, without a person. */
  async function allow() {
    if (browserName !== "chromium") return;
    const session = await tabs.profile.browser.target().createCDPSession();
    await session.send("Browser.grantPermissions", { permissions: ["durableStorage"] });
  }

  test("storage: the browser is asked once, after a change that a person made, and every tab is told", async () => {
    const id = tabs.fresh();
    const [a, b] = [await tabs.tab(), await tabs.tab()];
    for (const page of [a, b]) {
      await evaluate(page, spy);
      assert.equal(await open(page, id), "open");
    }
    const asked = () => evaluate(a, () => window.asked);
    await persisted(a, false);
    await add(a, "by a program");
    assert.equal(await asked(), 0);
    await allow();
    await a.mouse.click(10, 10);
    assert.equal(await asked(), 0);
    await add(a, "by a person");
    for (const page of [a, b]) await persisted(page, true);
    await add(a, "another");
    assert.equal(await asked(), 1);
    // The next page knows without asking.
    const c = await tabs.tab();
    await evaluate(c, spy);
    assert.equal(await open(c, id), "open");
    await persisted(c, true);
    await c.mouse.click(10, 10);
    await add(c, "more");
    assert.equal(await evaluate(c, () => window.asked), 0);
    await tabs.closeTabs();
  });

  test("storage: an app that asks itself is left to it", async () => {
    const a = await tabs.tab();
    await evaluate(a, spy);
    await evaluate(a, () => {
      navigator.storage.persisted = async () => false;
    });
    assert.equal(await open(a, tabs.fresh(), { persist: false }), "open");
    await a.mouse.click(10, 10);
    await add(a, "x");
    await close(a);
    assert.equal(await evaluate(a, () => window.asked), 0);
    await tabs.closeTabs();
  });
});
