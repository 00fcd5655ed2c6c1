import assert from "node:assert/strict";
import { test } from "node:test";
import { random, seed } from "./lib/random.mjs";
import { World } from "./lib/world.mjs";

const EDITS = 30;

/** What one profile did to the board, for the check afterwards. */
class Editor {
  added = new Set();
  removed = new Set();
  renamed = new Map();
  finished = new Map();

  constructor(board, name, choose) {
    Object.assign(this, { board, name, choose });
  }

  /** One edit of a random kind; each is one mutation. */
  async edit() {
    const { board, choose } = this;
    const lanes = await board.lanes();
    const lane = choose.of(lanes);
    const cards = lanes.flatMap(({ cards }) => cards);
    const card = choose.of(cards);
    const kind = choose.below(10);
    if (kind < 3 || !card) {
      const id = `${this.name}${this.added.size}`;
      this.added.add(id);
      return board.mutate("add", { id, column: lane.id, title: id });
    }
    if (kind < 5) {
      const title = `${card.id} by ${this.name} ${choose.below(1000)}`;
      this.renamed.set(card.id, title);
      return board.mutate("rename", { id: card.id, title });
    }
    if (kind < 8) {
      const before = choose.chance(0.3) ? null : (choose.of(lane.cards)?.id ?? null);
      return board.mutate("move", {
        id: card.id,
        column: lane.id,
        before: before === card.id ? null : before,
      });
    }
    if (kind < 9) {
      this.finished.set(card.id, !card.done);
      return board.mutate("finish", { id: card.id, done: !card.done });
    }
    this.removed.add(card.id);
    return board.mutate("remove", { id: card.id });
  }
}

test("two profiles that edit without the server, over reloads, converge when it is back", async (t) => {
  const world = await World.for(t);
  const choose = random(seed);
  const profiles = [await world.profile(), await world.profile()];
  const boards = [await world.board(profiles[0]), await world.board(profiles[1])];
  const common = Array.from({ length: 8 }, (_, at) => `common${at}`);
  for (const id of common)
    await boards[0].mutate("add", { id, column: choose.of(["backlog", "next", "doing"]), title: id });
  await world.converged(...boards);
  await world.server.kill();

  const editors = [new Editor(boards[0], "a", choose), new Editor(boards[1], "b", choose)];
  for (const editor of editors) {
    await editor.board.says({ connection: "offline", pending: 0 });
    for (let at = 0; at < EDITS / 2; at += 1) await editor.edit();
    await editor.board.says({ connection: "offline", pending: EDITS / 2 });
    const rows = await editor.board.rows();
    await editor.board.reload();
    assert.deepEqual(await editor.board.rows(), rows);
    await editor.board.says({ connection: "offline", pending: EDITS / 2 });
    for (let at = 0; at < EDITS / 2; at += 1) await editor.edit();
    await editor.board.says({ connection: "offline", pending: EDITS });
  }
  // One of them ends its browser, too.
  const rows = await boards[1].rows();
  await profiles[1].quit();
  await profiles[1].start();
  boards[1] = await world.board(profiles[1]);
  assert.deepEqual(await boards[1].rows(), rows);
  await boards[1].says({ connection: "offline", pending: EDITS });

  await world.server.start();
  const { cards } = await world.converged(...boards);
  for (const board of boards) assert.deepEqual(await board.notices(), []);

  const [a, b] = editors;
  const removed = new Set([...a.removed, ...b.removed]);
  const expected = [...common, ...a.added, ...b.added].filter((id) => !removed.has(id));
  assert.deepEqual(cards.map(({ id }) => id).sort(), expected.sort());
  for (const { id, title, done } of cards) {
    const titles = [a, b].filter(({ renamed }) => renamed.has(id)).map(({ renamed }) => renamed.get(id));
    assert.ok(titles.length === 0 ? title === id : titles.includes(title), `${id} is called ${title}`);
    const dones = [a, b].filter(({ finished }) => finished.has(id)).map(({ finished }) => finished.get(id));
    assert.ok(dones.length === 0 ? done === 0 : dones.includes(done === 1), `${id} is done: ${done}`);
  }
});

test("two moves of one card that were made apart end in one place", async (t) => {
  const world = await World.for(t);
  const mine = await world.board();
  const theirs = await world.board();
  for (const title of ["a", "b", "c"]) await mine.mutate("add", { id: title, column: "backlog", title });
  await world.converged(mine, theirs);
  await world.server.kill();
  await mine.says({ connection: "offline" });
  await theirs.says({ connection: "offline" });

  await mine.press("a", "Shift+ArrowRight");
  await mine.shows("next", ["a"]);
  await theirs.press("a", "Shift+ArrowDown");
  await theirs.shows("backlog", ["b", "a", "c"]);
  await theirs.press("a", "Shift+ArrowRight");
  await theirs.shows("next", ["a"]);
  await theirs.press("a", "Shift+ArrowRight");
  await theirs.shows("doing", ["a"]);

  await world.server.start();
  const { cards } = await world.converged(mine, theirs);
  assert.deepEqual(
    cards.map(({ id }) => id),
    ["a", "b", "c"],
  );
  const { column_id: column } = cards[0];
  assert.ok(column === "next" || column === "doing", `a is in ${column}`);
  for (const board of [mine, theirs]) {
    await board.shows(column, ["a"]);
    await board.shows("backlog", ["b", "c"]);
    assert.deepEqual(await board.notices(), []);
  }
});

test("a card that one profile renamed and the other deleted is gone everywhere", async (t) => {
  const world = await World.for(t);
  const mine = await world.board();
  const theirs = await world.board();
  for (const title of ["stays", "goes"]) await mine.mutate("add", { id: title, column: "backlog", title });
  await world.converged(mine, theirs);
  await world.server.kill();
  await mine.says({ connection: "offline" });
  await theirs.says({ connection: "offline" });

  await mine.rename("goes", "renamed");
  await mine.shows("backlog", ["stays", "renamed"]);
  await mine.says({ pending: 1 });
  await theirs.press("goes", "Delete");
  await theirs.shows("backlog", ["stays"]);
  await theirs.says({ pending: 1 });

  await world.server.start();
  const { cards } = await world.converged(mine, theirs);
  assert.deepEqual(
    cards.map(({ id }) => id),
    ["stays"],
  );
  for (const board of [mine, theirs]) {
    await board.shows("backlog", ["stays"]);
    assert.deepEqual(await board.notices(), []);
  }
});
