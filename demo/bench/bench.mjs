// What each operation costs in headless Chromium, beside what the platform itself takes in the same run.
// Arguments: --rounds N (5), --json for the figures alone.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { until } from "../e2e/lib/poll.mjs";
import { Profile } from "../e2e/lib/profile.mjs";
import { Server } from "../e2e/lib/server.mjs";
import { staticSite } from "../e2e/lib/static-site.mjs";
import { Figures, median } from "./lib/figures.mjs";
import { buildPage, downloads } from "./lib/page.mjs";
import { clock, Wiretap } from "./lib/wiretap.mjs";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, json: { type: "boolean", default: false } },
});
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds is a number from 1");
const eachRound = Array.from({ length: rounds }, (_, round) => round);
const say = (text) => process.stderr.write(`${text}\n`);

const ROWS = 5000;
const BIG = 100_000;
const PENDING = 1000;

const ask = (page, method, ...args) =>
  page.evaluate((method, args) => window.bench[method](...args), method, args);

async function tab(profile, url, id, server) {
  const page = await profile.open(url);
  if (id) await ask(page, "open", id, server);
  return page;
}

const settled = (page) =>
  until(
    "nothing is pending",
    async () => {
      const { pending, connection } = await ask(page, "status");
      return (pending === 0 && connection === "online") || { not: { pending, connection } };
    },
    { seconds: 120 },
  );

/** Latencies and rates of one tab, and what the other tab sees of it. */
async function operations(figures, { profile, site, server }) {
  say("applied, durable, reads and live queries");
  const a = await tab(profile, site.origin, "operations", server.url);
  const b = await tab(profile, site.origin, "operations", server.url);
  await a.bringToFront();
  await ask(a, "fill", 0, ROWS);
  await ask(a, "startFloor");
  await ask(b, "watch", 7);
  const taken = {
    trip: [],
    append: [],
    applied: [],
    durable: [],
    sequential: [],
    confirmed: [],
    read: [],
    live: [],
    rate: [],
  };
  // The first round warms up.
  for (const round of [-1, ...eachRound]) {
    const now = {
      trip: median(await ask(a, "roundTrips", 400)),
      applied: median(await ask(a, "atRest", "applied", 200)),
      read: median(await ask(a, "reads", 400)),
      append: median(await ask(a, "appends", 200)),
      durable: median(await ask(a, "atRest", "durable", 200)),
      sequential: median(await ask(a, "durable", 200)),
      confirmed: median(await ask(a, "confirmed", 100, "toggle")),
    };
    await settled(a);
    const ahead = await ask(a, "clockAhead");
    const asked = await ask(a, "retitle", 7, 100);
    const seen = await ask(
      b,
      "seenAt",
      asked.map(({ value }) => value),
    );
    now.live = median(asked.map(({ asked }, at) => seen[at] - ahead - asked));
    await settled(a);
    now.rate = await ask(a, "inFlight", 64, 8192);
    await settled(a);
    if (round >= 0) for (const [name, value] of Object.entries(now)) taken[name].push(value);
  }
  const trip = { name: "tab → worker → tab", rounds: taken.trip };
  const append = { name: "… → disk, append 256 B + flush", rounds: taken.append };
  figures.add("applied", "ms", taken.applied, { floor: trip, goal: { ratio: 3 } });
  figures.add("durable", "ms", taken.durable, { floor: append, goal: { ratio: 2 } });
  figures.add("durable, one after the other", "ms", taken.sequential, { floor: append, goal: { ratio: 2 } });
  figures.add("durable, 64 in flight", "/s", taken.rate, { goal: { atLeast: 8000 } });
  figures.add("confirmed, one after the other", "ms", taken.confirmed, { floor: append });
  figures.add("point read", "ms", taken.read, { floor: trip });
  figures.add("write in tab A → live query in tab B", "ms", taken.live, { floor: trip, goal: { atMost: 2 } });
  await profile.closeTab(b);
  await profile.closeTab(a);
}

/** What goes over the wire for one confirmed mutation, both ways. */
async function wire(figures, { profile, site, server }) {
  say("bytes on the wire");
  const tap = await Wiretap.to(server.port);
  const page = await tab(profile, site.origin, "wire", tap.url);
  await ask(page, "fill", 0, ROWS);
  for (const mutator of ["toggle", "insert"]) {
    const up = [];
    const down = [];
    for (const round of [-1, ...eachRound]) {
      await settled(page);
      tap.mark();
      await ask(page, "confirmed", 50, mutator);
      if (round < 0) continue;
      up.push(tap.up / 50);
      down.push(tap.down / 50);
    }
    figures.add(`${mutator}: to the server`, "B", up);
    figures.add(`${mutator}: from the server`, "B", down);
  }
  await profile.closeTab(page);
  await tap.close();
}

/** How far ahead a page's clock is of ours, by the fastest of many questions. */
async function pageAhead(page) {
  let best = { taken: Number.POSITIVE_INFINITY, ahead: 0 };
  for (let at = 0; at < 50; at += 1) {
    const began = clock();
    const told = await ask(page, "clock");
    const ended = clock();
    if (ended - began < best.taken) best = { taken: ended - began, ahead: told - (began + ended) / 2 };
  }
  return best.ahead;
}

/** From the arrival of somebody else's commit to the live query's new rows, with and without pending mutations. */
async function rebase(figures, { profile, site, server }) {
  say(`rebase of ${PENDING} pending`);
  const tap = await Wiretap.to(server.port);
  const page = await tab(profile, site.origin, "operations", tap.url);
  await settled(page);
  await ask(page, "watch", 11);
  const elsewhere = await profile.browser.createBrowserContext();
  const other = await elsewhere.newPage();
  await other.goto(site.origin, { waitUntil: "load" });
  await ask(other, "open", "operations", server.url);
  await settled(other);
  await page.bringToFront();
  const arrival = async (round, pending) => {
    const title = `somebody else's ${round} ${pending}`;
    const ahead = await pageAhead(page);
    tap.mark();
    await ask(other, "confirmOne", 11, title);
    const [seen] = await until("the live query has the title", async () => {
      const [at] = await ask(page, "seenAt", [title]);
      return typeof at === "number" && [at];
    });
    return seen - ahead - tap.firstDown;
  };
  const taken = { none: [], many: [] };
  for (const round of [-1, ...eachRound]) {
    const none = await arrival(round, 0);
    await settled(page);
    tap.hold();
    await ask(page, "pend", PENDING);
    const { pending } = await ask(page, "status");
    if (pending !== PENDING) throw new Error(`${pending} are pending, not ${PENDING}`);
    const many = await arrival(round, PENDING);
    tap.release();
    await settled(page);
    if (round < 0) continue;
    taken.none.push(none);
    taken.many.push(many);
  }
  const floor = { name: "none pending", rounds: taken.none };
  figures.add(`commit arrives → live query, ${PENDING} pending`, "ms", taken.many, { floor });
  await elsewhere.close();
  await profile.closeTab(page);
  await tap.close();
}

/** From `open` to the first row of a large document, in a browser that was just started. */
async function coldOpen(figures, { profile, site, server }) {
  say(`cold open of ${BIG} rows`);
  let page = await tab(profile, site.origin, "big", server.url);
  for (let from = 0; from < BIG; from += BIG / 20) await ask(page, "fill", from, from + BIG / 20);
  await settled(page);
  const taken = { open: [], boot: [] };
  for (const round of eachRound) {
    await profile.quit();
    await profile.start();
    page = await tab(profile, site.origin);
    taken.boot.push(...(await ask(page, "boot", `boot ${round}`)));
    taken.open.push(await ask(page, "open", "big", server.url, BIG - 1));
  }
  const boot = { name: "a SharedWorker's first answer", rounds: taken.boot };
  figures.add(`cold open of ${BIG / 1000}k rows, first row`, "ms", taken.open, {
    floor: boot,
    goal: { atMost: 400 },
  });
  await profile.closeTab(page);
}

function download(figures) {
  const files = downloads();
  for (const [name, bytes] of Object.entries(files)) figures.add(`brotli ${name}`, "kB", [bytes / 1000]);
  const total = Object.values(files).reduce((sum, bytes) => sum + bytes, 0);
  figures.add("brotli of everything downloaded", "kB", [total / 1000], { goal: { atMost: 450 } });
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
  await operations(figures, all);
  await wire(figures, all);
  await rebase(figures, all);
  await coldOpen(figures, all);
  download(figures);
} finally {
  await profile.remove();
  await server.remove();
  await site.close();
}
if (!values.json)
  console.log(
    `\n${figures.table()}\n\n${rounds} rounds, their medians; ratios are medians of each round's.\n`,
  );
console.log(JSON.stringify({ rounds, figures: figures.json }));
