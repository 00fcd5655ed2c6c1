import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./lib/poll.mjs";
import { browserName } from "./lib/profile.mjs";
import { World } from "./lib/world.mjs";

/** Writes cards one after the other in the page until told to stop; what is durable is counted there. */
const startWriting = (board, prefix) =>
  board.page.evaluate((prefix) => {
    const written = { durable: [], failed: [], stop: false };
    window.written = written;
    const write = async () => {
      for (let at = 0; !written.stop; at += 1) {
        const id = `${prefix}${at}`;
        try {
          await window.board.mutate.add({ id, column: "backlog", title: id });
          written.durable.push(id);
        } catch (error) {
          written.failed.push(String(error));
        }
      }
    };
    written.done = write();
  }, prefix);

const written = (board) =>
  board.page.evaluate(() => ({ durable: window.written.durable, failed: window.written.failed }));

const stopWriting = (board) =>
  board.page.evaluate(async () => {
    window.written.stop = true;
    await window.written.done;
    return { durable: window.written.durable, failed: window.written.failed };
  });

const afterSome = (board, count) =>
  until(`${count} cards are durable`, async () => {
    const { durable, failed } = await written(board);
    assert.deepEqual(failed, []);
    return durable.length >= count || { not: durable.length };
  });

const cardIds = ({ cards }) => cards.map(({ id }) => id).sort();

test("storage: everything is there after a reload, after all tabs were closed and after a restart, without the server", async (t) => {
  const world = await World.for(t);
  const profile = await world.profile();
  let board = await world.board(profile);
  for (const title of ["a", "b", "c"]) await board.add("backlog", title);
  await board.shows("backlog", ["a", "b", "c"]);
  const [a, b] = (await board.lanes())[0].cards.map(({ id }) => id);
  await board.press(a, "Shift+ArrowRight");
  await board.press(b, " ");
  await board.shows("next", ["a"]);
  await board.settled();
  const rows = await board.rows();
  await world.server.stop();
  await board.says({ connection: "offline", pending: 0, storage: "opfs" });

  await board.reload();
  assert.deepEqual(await board.rows(), rows);

  const blank = await profile.open("about:blank");
  await profile.closeTab(board.page);
  board = await world.board(profile);
  assert.deepEqual(await board.rows(), rows);
  await profile.closeTab(blank);

  await profile.quit();
  await profile.start();
  board = await world.board(profile);
  assert.deepEqual(await board.rows(), rows);
  await board.says({ connection: "offline", pending: 0, storage: "opfs" });
  await board.shows("backlog", ["b", "c"]);
  await board.shows("next", ["a"]);
});

test("storage: a board is made without a server, and keeps its pending changes over a restart", async (t) => {
  const world = await World.for(t, { serving: false });
  const profile = await world.profile();
  let board = await world.board(profile);
  await board.add("backlog", "made alone");
  await board.says({ connection: "offline", pending: 1 });
  await profile.quit();
  await profile.start();
  board = await world.board(profile);
  await board.shows("backlog", ["made alone"]);
  await board.says({ connection: "offline", pending: 1 });
  await world.server.start();
  const rows = await world.converged(board);
  assert.deepEqual(
    rows.cards.map(({ title }) => title),
    ["made alone"],
  );
});

test("storage: a killed browser loses nothing that was durable", async (t) => {
  const world = await World.for(t, { serving: false });
  const profile = await world.profile();
  let board = await world.board(profile);
  await startWriting(board, "k");
  await afterSome(board, 100);
  const { durable } = await written(board);
  await profile.kill();

  await profile.start();
  board = await world.board(profile);
  const kept = new Set(cardIds(await board.rows()));
  assert.deepEqual(
    durable.filter((id) => !kept.has(id)),
    [],
  );
  // A prefix of what was written, without a hole.
  assert.deepEqual([...kept].sort(), Array.from({ length: kept.size }, (_, at) => `k${at}`).sort());
  await board.says({ pending: kept.size });
  await world.server.start();
  const rows = await world.converged(board);
  assert.deepEqual(cardIds(rows), [...kept].sort());
  assert.deepEqual(await board.notices(), []);
});

test("storage: writing goes on when the tab closes that lent the disk, and nothing is lost or written twice", async (t) => {
  const world = await World.for(t);
  const profile = await world.profile();
  const lender = await world.board(profile);
  const writer = await world.board(profile);
  const heir = await world.board(profile);
  await startWriting(writer, "h");
  await afterSome(writer, 50);
  await profile.closeTab(lender.page);
  await afterSome(writer, (await written(writer)).durable.length + 50);
  await profile.closeTab(heir.page);
  await afterSome(writer, (await written(writer)).durable.length + 50);
  const { durable, failed } = await stopWriting(writer);
  assert.deepEqual(failed, []);
  const rows = await world.converged(writer);
  assert.deepEqual(cardIds(rows), durable.toSorted());
  assert.deepEqual(await writer.notices(), []);

  await profile.quit();
  await world.server.stop();
  await profile.start();
  const again = await world.board(profile);
  assert.deepEqual(await again.rows(), rows);
});

test("storage: the other tabs go on when the process crashes that ran the hub", {
  skip: browserName !== "chromium" && "only Chromium can be told to crash a tab",
}, async (t) => {
  const world = await World.for(t);
  const profile = await world.profile();
  const first = await world.board(profile);
  const writer = await world.board(profile);
  await startWriting(writer, "c");
  await afterSome(writer, 50);
  const crashed = new Promise((resolve) => first.page.once("error", resolve));
  first.page.goto("chrome://crash").catch(() => {});
  await crashed;
  await afterSome(writer, (await written(writer)).durable.length + 50);
  const { durable, failed } = await stopWriting(writer);
  assert.deepEqual(failed, []);
  const rows = await world.converged(writer);
  assert.deepEqual(cardIds(rows), durable.toSorted());
  assert.deepEqual(await writer.notices(), []);
});
