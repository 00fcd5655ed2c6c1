import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./lib/poll.mjs";
import { World } from "./lib/world.mjs";

const WRITES = 400;

/** Hands in all writes, a few at a time, and counts in the page which were confirmed and which were refused. */
const startWriting = (board) =>
  board.page.evaluate((count) => {
    const written = { confirmed: [], refused: [] };
    window.written = written;
    const write = async () => {
      for (let at = 0; at < count; at += 1) {
        const id = `w${at}`;
        const handle = window.board.mutate.add({ id, column: "backlog", title: id });
        handle.confirmed.then(
          () => written.confirmed.push(id),
          (error) => written.refused.push(`${id}: ${error}`),
        );
        await handle;
      }
    };
    written.done = write();
  }, WRITES);

const written = (board) =>
  board.page.evaluate(() => ({ confirmed: window.written.confirmed, refused: window.written.refused }));

/** Kills the server when some but not all writes are confirmed, and resolves with those that were confirmed by then. */
async function killInTheMiddle(world, board, some) {
  await until(`${some} writes are confirmed`, async () => (await written(board)).confirmed.length >= some, {
    everyMs: 1,
  });
  await world.server.kill();
  await board.says({ connection: "offline" });
  const { confirmed, refused } = await written(board);
  assert.deepEqual(refused, []);
  assert.ok(confirmed.length < WRITES, "the server was killed after the last write; nothing was tested");
  return confirmed;
}

const ids = ({ cards }) => cards.map(({ id }) => id).sort();

test("a killed server still has what was confirmed, without the browser that wrote it", async (t) => {
  const world = await World.for(t);
  const profile = await world.profile();
  const board = await world.board(profile);
  await startWriting(board);
  const confirmed = await killInTheMiddle(world, board, 50);
  await profile.kill();
  await world.server.start();
  const there = new Set(ids(await world.primaryRows()));
  assert.deepEqual(
    confirmed.filter((id) => !there.has(id)),
    [],
  );
});

test("writing goes on while the server is killed and started again, and each write arrives once", async (t) => {
  const world = await World.for(t);
  const board = await world.board();
  const other = await world.board();
  await startWriting(board);
  for (const share of [0.1, 0.4]) {
    await killInTheMiddle(world, board, WRITES * share);
    await world.server.start();
  }
  await until(
    "every write is confirmed",
    async () => {
      const { confirmed } = await written(board);
      return confirmed.length === WRITES || { not: confirmed.length };
    },
    { seconds: 60 },
  );
  const { confirmed, refused } = await written(board);
  assert.deepEqual(refused, []);
  const rows = await world.converged(board, other);
  assert.deepEqual(ids(rows), confirmed.sort());
  assert.deepEqual(await board.notices(), []);
});
