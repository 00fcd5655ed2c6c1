// A network that says nothing at all.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { add, says } from "./lib/notes.mjs";
import { Reach } from "./lib/reach.mjs";

describe(`a server that is not heard, in ${browserName}`, () => {
  const reach = new Reach();

  test("sync: a connection on which nothing comes any more is given up and made anew", async () => {
    const page = await reach.opened();
    const { network } = reach;
    const before = network.taken.length;
    network.swallow();
    await add(page, "into nothing");
    await says(page, { connection: "online", pending: 1 });
    // Nobody closes it: the silence has to be noticed, which takes 30 s.
    await says(page, { connection: "online", pending: 0 }, { seconds: 90 });
    assert.equal(network.taken.length, before + 1);
  });

  test("sync: a connection that never opens is given up and made anew", async () => {
    const page = await reach.opened();
    const { network } = reach;
    const before = network.taken.length;
    network.hang();
    await until("it is tried again", () => network.taken.length > before);
    network.pass();
    await says(page, { connection: "online" }, { seconds: 90 });
  });
});
