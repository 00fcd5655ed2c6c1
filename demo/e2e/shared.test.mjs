import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./lib/poll.mjs";
import { World } from "./lib/world.mjs";

test("what is done in one tab shows in the other tab and in another profile", async (t) => {
  const world = await World.for(t);
  const mine = await world.profile();
  const first = await world.board(mine);
  const second = await world.board(mine);
  const other = await world.board();
  const everywhere = async (column, titles) => {
    for (const board of [first, second, other]) await board.shows(column, titles);
  };
  assert.equal((await first.status()).storage, "opfs");

  await first.add("backlog", "one");
  await everywhere("backlog", ["one"]);
  await other.add("backlog", "two");
  // Of two that are added at once the server decides which comes first.
  await everywhere("backlog", ["one", "two"]);
  await second.add("backlog", "three");
  await everywhere("backlog", ["one", "two", "three"]);
  const [one, two, three] = (await first.lanes())[0].cards.map(({ id }) => id);

  await second.rename(one, "uno");
  await everywhere("backlog", ["uno", "two", "three"]);

  await first.press(three, "Shift+ArrowUp");
  await everywhere("backlog", ["uno", "three", "two"]);
  await other.click(two, "Move up");
  await everywhere("backlog", ["uno", "two", "three"]);

  await other.press(two, "Shift+ArrowRight");
  await everywhere("backlog", ["uno", "three"]);
  await everywhere("next", ["two"]);

  await first.press(two, " ");
  for (const board of [first, second, other])
    await until("the card is done", async () => (await board.lanes())[1].cards[0].done);

  await second.click(three, "Delete");
  await everywhere("backlog", ["uno"]);

  await other.addColumn("Review");
  await everywhere("Review", []);
  await world.converged(first, second, other);
});

test("a card that is dragged lands where it is dropped, in every tab", async (t) => {
  const world = await World.for(t);
  const profile = await world.profile();
  const first = await world.board(profile);
  const second = await world.board(profile);
  for (const title of ["a", "b", "c"]) await first.add("backlog", title);
  await first.shows("backlog", ["a", "b", "c"]);
  const [a, , c] = (await first.lanes())[0].cards.map(({ id }) => id);

  await first.drag(c, `[data-card="${a}"]`, { toTop: true });
  for (const board of [first, second]) await board.shows("backlog", ["c", "a", "b"]);
  await first.drag(a, '[data-column="doing"]');
  for (const board of [first, second]) {
    await board.shows("backlog", ["c", "b"]);
    await board.shows("doing", ["a"]);
  }
  await world.converged(first, second);
});
