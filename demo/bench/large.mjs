// Long timelines, large documents and their checkpoints in headless Chromium: how long they take, what memory, what is written.
// Arguments: --rounds N (3), --json for the figures alone.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { until } from "../e2e/lib/poll.mjs";
import { Profile } from "../e2e/lib/profile.mjs";
import { Server } from "../e2e/lib/server.mjs";
import { staticSite } from "../e2e/lib/static-site.mjs";
import { Figures } from "./lib/figures.mjs";
import { buildPage } from "./lib/page.mjs";
import { Wiretap } from "./lib/wiretap.mjs";
import { diskWrites, hubMemory, hubTurns } from "./lib/workers.mjs";

const { values } = parseArgs({
  options: { rounds: { type: "string" }, json: { type: "boolean", default: false } },
});
const rounds = Number(values.rounds ?? 3);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds is a number from 1");
const eachRound = Array.from({ length: rounds }, (_, round) => round);
const say = (text) => process.stderr.write(`${text}\n`);

const ROWS = 5000;
const PENDING = 100_000;
const LARGE = 100_000;
const MB = 1e6;
/** Bytes that make the log of a document of 10 MB almost long enough for a checkpoint. */
const FULL_LOG = 2.7 * MB;
/** What a hub may have beside the document. */
const SPARE = 16 << 20;

const ask = (page, method, ...args) =>
  page.evaluate((method, args) => window.bench[method](...args), method, args);

const settled = (page) =>
  until(
    "nothing is pending",
    async () => {
      const { pending, connection, progress } = await ask(page, "status");
      return (pending === 0 && connection === "online" && !progress) || { not: { pending, connection } };
    },
    { seconds: 300 },
  );

/** What one small mutation writes on the device until it is confirmed, the commit included. */
async function written(figures, { profile, site, server }) {
  say("bytes written");
  const page = await profile.open(site.origin);
  await ask(page, "open", "written", server.url);
  await ask(page, "fill", 0, ROWS);
  await settled(page);
  await ask(page, "confirmed", 50, "toggle");
  const disk = await diskWrites(page);
  const taken = [];
  for (const _ of eachRound) {
    await settled(page);
    const before = await disk.bytes();
    await ask(page, "confirmed", 200, "toggle");
    await settled(page);
    taken.push(((await disk.bytes()) - before) / 200);
  }
  figures.add("written per confirmed toggle", "B", taken, { goal: { atMost: 300 } });
  await profile.closeTab(page);
}

/** Weeks offline: everything is opened, and rebased, with this many pending. */
async function pending(figures, { profile, site, server }) {
  say(`${PENDING} pending`);
  const tap = await Wiretap.to(server.port);
  let page = await profile.open(site.origin);
  await ask(page, "open", "pending", tap.url);
  await ask(page, "fill", 0, ROWS);
  await settled(page);
  tap.hold();
  const began = performance.now();
  for (let made = 0; made < PENDING; made += 5000) await ask(page, "pend", 5000);
  const rate = PENDING / ((performance.now() - began) / 1000);
  figures.add("durable while offline", "/s", [rate]);
  figures.add(`hub's memory with ${PENDING / 1000}k pending`, "MB", [
    (await hubMemory(profile.browser)) / MB,
  ]);

  const elsewhere = await profile.browser.createBrowserContext();
  const other = await elsewhere.newPage();
  await other.goto(site.origin, { waitUntil: "load" });
  await ask(other, "open", "pending", server.url);
  await settled(other);
  await page.bringToFront();
  await ask(page, "watch", 11);
  const rebase = { taken: [], slowest: [], stall: [] };
  for (const round of eachRound) {
    const title = `somebody else's ${round}`;
    const read = ask(page, "readUntil", title);
    const began = performance.now();
    await ask(other, "confirmOne", 11, title);
    const { slowest, stall } = await read;
    rebase.taken.push(performance.now() - began);
    rebase.slowest.push(slowest);
    rebase.stall.push(stall);
  }
  await elsewhere.close();
  figures.add(`rebase of ${PENDING / 1000}k pending`, "ms", rebase.taken, { goal: { atMost: 15_000 } });
  figures.add("… slowest read meanwhile", "ms", rebase.slowest, { goal: { atMost: 100 } });
  figures.add("… the page's longest round", "ms", rebase.stall, { goal: { atMost: 50 } });
  figures.add("hub's memory after it", "MB", [(await hubMemory(profile.browser)) / MB]);

  const open = { taken: [], stall: [] };
  for (const _ of eachRound) {
    await profile.quit();
    await profile.start();
    page = await profile.open(site.origin);
    const { taken, stall, progress } = await ask(page, "openWatched", "pending", tap.url);
    const { pending } = await ask(page, "status");
    if (pending !== PENDING || progress < 3)
      throw new Error(`${pending} are pending, ${progress} steps told`);
    open.taken.push(taken);
    open.stall.push(stall);
  }
  figures.add(`open with ${PENDING / 1000}k pending`, "ms", open.taken, { goal: { atMost: 15_000 } });
  figures.add("… the page's longest round", "ms", open.stall, { goal: { atMost: 50 } });

  tap.release();
  const released = performance.now();
  await settled(page);
  figures.add(`${PENDING / 1000}k pending are confirmed`, "ms", [performance.now() - released]);
  await profile.closeTab(page);
  await tap.close();
}

/** Resolves once nothing more is written than `from` bytes and a checkpoint. */
async function quiet(disk, from) {
  let [last, since] = [from, performance.now()];
  await until(
    "the checkpoint is made",
    async () => {
      const now = await disk.bytes();
      if (now !== last) [last, since] = [now, performance.now()];
      return (last > from && performance.now() - since > 2000) || { not: now - from };
    },
    { seconds: 60 },
  );
}

/** How long the hub hears nobody while a checkpoint is made and base catches up, and how long when nothing happens. */
async function checkpoints(figures, { profile, site, server }) {
  say("checkpoints");
  const page = await profile.open(site.origin);
  await ask(page, "open", "checkpoints", server.url);
  for (let from = 0; from < 10_000; from += 1000) await ask(page, "bulk", from, from + 1000);
  const disk = await diskWrites(page);
  await settled(page);
  await quiet(disk, -1);
  const turns = await hubTurns(profile.browser);
  const [taken, idle] = [[], []];
  for (const round of eachRound) {
    await ask(page, "bulk", 10_000 + round * 1000, 11_000 + round * 1000);
    await settled(page);
    const before = await disk.bytes();
    await turns.start();
    await quiet(disk, before);
    taken.push(await turns.longest());
    await turns.start();
    await delay(5000);
    idle.push(await turns.longest());
  }
  const floor = { name: "when nothing happens", rounds: idle };
  figures.add("the hub's longest turn in a checkpoint", "ms", taken, { floor, goal: { atMost: 4 } });
  await profile.closeTab(page);
}

/** An open of a document of 10 MB whose log is almost full, because the browser was killed, beside one left in order. */
async function opens(figures, { profile, site, server }) {
  say("opens after a kill");
  const [ordered, killed] = [[], []];
  const open = async (times) => {
    const page = await profile.open(site.origin);
    times.push(await ask(page, "open", "opens", server.url, 0));
    await settled(page);
    return page;
  };
  const first = await profile.open(site.origin);
  await ask(first, "open", "opens", server.url);
  for (let from = 0; from < 10_000; from += 1000) await ask(first, "bulk", from, from + 1000);
  await settled(first);
  await quiet(await diskWrites(first), -1);
  for (const _ of eachRound) {
    await profile.quit();
    await profile.start();
    let page = await open(ordered);
    const disk = await diskWrites(page);
    while ((await disk.bytes()) < FULL_LOG) await ask(page, "rewrite", 100);
    await settled(page);
    await profile.kill();
    await profile.start();
    page = await open(killed);
    // An opening begins a new log; once it is whole, the next finds nothing but it.
    await quiet(await diskWrites(page), -1);
  }
  const floor = { name: "left in order", rounds: ordered };
  figures.add("open after a kill, 10 MB", "ms", killed, { floor, goal: { ratio: 1.3 } });
}

/** A document of about 100 MB. */
async function large(figures, { profile, site, server }) {
  say("a large document");
  let page = await profile.open(site.origin);
  await ask(page, "open", "large", server.url);
  for (let from = 0; from < LARGE; from += 4000) await ask(page, "bulk", from, from + 4000);
  await settled(page);
  const bytes = (await ask(page, "size")) / MB;
  figures.add("the large document", "MB", [bytes]);
  const most = { atMost: Math.round(1.6 * bytes + SPARE / MB) };
  figures.add("hub's memory after writing it", "MB", [(await hubMemory(profile.browser)) / MB], {
    goal: most,
  });
  const taken = [];
  const memory = [];
  for (const _ of eachRound) {
    await profile.quit();
    await profile.start();
    page = await profile.open(site.origin);
    taken.push(await ask(page, "open", "large", server.url, LARGE - 1));
    await ask(page, "scan");
    await settled(page);
    memory.push((await hubMemory(profile.browser)) / MB);
  }
  figures.add("cold open of the large document, first row", "ms", taken, { goal: { atMost: 1200 } });
  figures.add("hub's memory after opening and scanning it", "MB", memory, { goal: most });
  await profile.closeTab(page);
}

const folder = await buildPage();
const profile = new Profile("chromium");
const figures = new Figures();
const site = await staticSite(folder, { isolated: true });
const server = new Server(join(folder, "definition.json"));
try {
  await server.start();
  await profile.start();
  const all = { profile, site, server };
  await written(figures, all);
  await checkpoints(figures, all);
  await opens(figures, all);
  await pending(figures, all);
  await large(figures, all);
} finally {
  await profile.remove();
  await server.remove();
  await site.close();
}
if (!values.json) console.log(`\n${figures.table()}\n\n${rounds} rounds, their medians.\n`);
console.log(JSON.stringify({ rounds, figures: figures.json }));
