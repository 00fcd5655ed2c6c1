// A tab goes while another one comes, and both write.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { random, seed } from "../../demo/e2e/lib/random.mjs";
import { add, open, wrong } from "./lib/notes.mjs";
import { keepWriting, receipts } from "./lib/receipts.mjs";
import { Tabs } from "./lib/tabs.mjs";

const ROUNDS = 8;
/** How much sooner the one or the other may be, in milliseconds. */
const APART = 60;

describe(`taking a document over, in ${browserName}`, () => {
  const choose = random(seed);
  let tabs;
  before(async () => {
    tabs = await Tabs.start();
  });
  after(() => tabs?.end());

  for (const [site, kind] of [
    ["a", "opfs"],
    ["absent", "indexedDb"],
  ]) {
    test(`storage: a tab that opens while the last one goes finds all in ${kind}, ${ROUNDS} times`, async (t) => {
      t.diagnostic(`seed ${seed}`);
      const id = tabs.fresh();
      const ways = {
        closes: (page) => page.close(),
        leaves: (page) => page.goto("about:blank"),
        // It comes back at once, and so it is one that opens, too.
        reloads: async (page) => {
          await tabs.reload(page);
          assert.equal(await open(page, id), "open");
        },
      };
      const expected = [];
      let old = await tabs.tab(site);
      assert.equal(await open(old, id), "open");
      for (let round = 0; round < ROUNDS; round += 1) {
        await keepWriting(old, `going-${round}`);
        const next = await tabs.tab(site);
        const before = (await receipts(next, id)).length;
        await until("the old one writes", async () => (await receipts(next, id)).length > before);
        const way = choose.of(Object.keys(ways));
        const [going, coming] = [choose.below(APART), choose.below(APART)];
        const [opened] = await Promise.all([
          delay(coming).then(() => open(next, id)),
          delay(going).then(() => ways[way](old)),
        ]);
        const told = `round ${round}: the old one ${way} after ${going} ms, the new one opens after ${coming}`;
        assert.equal(opened, "open", told);
        expected.push(`coming-0-${round}`);
        await add(next, expected.at(-1));
        const durable = [...expected, ...(await receipts(next, id))];
        assert.deepEqual(await wrong(next, durable), { lost: [], holes: [], twice: 0 }, told);
        if (way !== "closes") await old.close();
        old = next;
      }
      t.diagnostic(`${(await receipts(old, id)).length} durable`);
      await tabs.closeTabs();
    });
  }
});
