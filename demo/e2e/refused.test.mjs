import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./lib/poll.mjs";
import { World } from "./lib/world.mjs";

const refusals = (board, count) =>
  until(`${count} refused changes are told`, async () => {
    const notices = await board.notices();
    return notices.length === count ? notices : { not: notices };
  });

test("a change that breaks a constraint here is refused for its caller and leaves no trace", async (t) => {
  const world = await World.for(t, { serving: false });
  const board = await world.board();
  await board.add("backlog", "kept");
  await board.shows("backlog", ["kept"]);
  await board.says({ connection: "offline", pending: 1 });
  const before = await board.rows();

  await board.add("backlog", "");
  const [check] = await refusals(board, 1);
  assert.equal(check.by, "device");
  assert.equal(check.code, "constraint");
  assert.match(check.text, /a card's title has 1 to 200 characters/);
  await board.dismissNotices();

  await board.addColumn("BACKLOG");
  const [unique] = await refusals(board, 1);
  assert.equal(unique.code, "constraint");
  assert.match(unique.text, /column\.name/);
  await board.dismissNotices();

  await assert.rejects(board.mutate("add", { id: "x", column: "nowhere", title: "x" }), /FOREIGN KEY/);
  await assert.rejects(board.mutate("removeColumn", { id: "backlog" }), /FOREIGN KEY/);
  await assert.rejects(board.mutate("add", { id: "x", column: "backlog" }), /title/);

  assert.deepEqual(await board.rows(), before);
  assert.equal((await board.status()).pending, 1);
  await board.reload();
  assert.deepEqual(await board.rows(), before);
  await board.says({ pending: 1 });
  await world.server.start();
  assert.deepEqual(await world.converged(board), before);
  assert.deepEqual(await board.notices(), []);
});

test("a change that only the server refuses is undone alone, the later ones stand, and the app is told", async (t) => {
  const world = await World.for(t);
  const [mine, theirs] = [await world.profile(), await world.profile()];
  const first = await world.board(mine);
  const second = await world.board(theirs);
  await world.converged(first, second);
  await world.server.kill();
  for (const board of [first, second]) await board.says({ connection: "offline" });

  await second.add("backlog", "before");
  await second.addColumn("Review");
  await second.shows("Review", []);
  await second.add("backlog", "after");
  await second.says({ pending: 3 });
  await theirs.quit();
  await first.addColumn("review");
  await first.says({ pending: 1 });
  await world.server.start();
  await first.settled();

  // The name is taken when these arrive, after a restart of the browser.
  await theirs.start();
  const late = await world.board(theirs);
  const rows = await world.converged(first, late);
  assert.deepEqual(rows.columns.map(({ name }) => name).sort(), ["Backlog", "Doing", "Next", "review"]);
  for (const board of [first, late]) {
    await board.shows("backlog", ["before", "after"]);
    await board.shows("review", []);
  }
  const [notice] = await refusals(late, 1);
  assert.equal(notice.by, "server");
  assert.equal(notice.code, "constraint");
  assert.match(notice.text, /column\.name/);
  assert.deepEqual(await first.notices(), []);

  // It is told until somebody has read it.
  await late.reload();
  assert.deepEqual(await refusals(late, 1), [notice]);
  await late.dismissNotices();
  await late.reload();
  await late.settled();
  assert.deepEqual(await late.notices(), []);
});

test("a change that the server refused is made once more when nothing is in its way any more", async (t) => {
  const world = await World.for(t);
  const [mine, theirs] = [await world.profile(), await world.profile()];
  const [first, second] = [await world.board(mine), await world.board(theirs)];
  await world.converged(first, second);
  await world.server.kill();
  for (const board of [first, second]) await board.says({ connection: "offline" });
  await second.addColumn("Review");
  await second.says({ pending: 1 });
  await theirs.quit();
  await first.addColumn("review");
  await first.says({ pending: 1 });
  await world.server.start();
  await first.settled();
  await theirs.start();
  const late = await world.board(theirs);
  await refusals(late, 1);
  const rejections = await late.rejections();
  assert.deepEqual([rejections[0].name, rejections[0].args.name], ["addColumn", "Review"]);
  assert.ok(rejections[0].lsn > 0);

  // What is in the way here, too, leaves the rejection as it was.
  await late.retryRefused();
  await refusals(late, 2);
  assert.deepEqual(await late.rejections(), rejections);
  await late.reload();
  await refusals(late, 1);

  const { columns } = await first.rows();
  const { id } = columns.find(({ name }) => name === "review");
  await first.mutate("renameColumn", { id, name: "Reviewed" });
  await world.converged(first, late);
  await late.retryRefused();
  assert.deepEqual(await refusals(late, 0), []);
  const rows = await world.converged(first, late);
  assert.equal(rows.columns.filter(({ name }) => name === "Review").length, 1);
  await late.reload();
  await late.settled();
  assert.deepEqual(await late.notices(), []);
});

test("a board whose name is no document id says why it does not open", async (t) => {
  const world = await World.for(t, { serving: false });
  const profile = await world.profile();
  const page = await profile.open(`${world.site.origin}/?board=${encodeURIComponent("a/b")}`);
  const code = await until("the page says why", () =>
    page.evaluate(() => document.querySelector("[data-failure]")?.dataset.failure),
  );
  assert.equal(code, "bad_document_id");
});
