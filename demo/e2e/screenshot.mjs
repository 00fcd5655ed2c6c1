// node demo/e2e/screenshot.mjs file.png: the built demo in two tabs of one profile, light and dark, side by side.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { BoardPage } from "./lib/board-page.mjs";
import { Profile } from "./lib/profile.mjs";
import { Server } from "./lib/server.mjs";
import { staticSite } from "./lib/static-site.mjs";

const [file] = process.argv.slice(2);
if (!file) throw new Error("usage: node demo/e2e/screenshot.mjs file.png");

const cards = {
  backlog: [
    "Write the release notes",
    "Ask Mina about the invoice template, which still has last year’s address",
    "Compare hosting in Frankfurt and Helsinki",
  ],
  next: ["Print 200 copies of the leaflet", "Proof-read chapter 3", "Order toner"],
  doing: ["Fix the paper jam on floor two", "Move the old mailing list"],
};

const dist = join(import.meta.dirname, "../dist");
const size = { width: 960, height: 640, deviceScaleFactor: 1 };
const profile = new Profile("chromium");
const site = await staticSite(dist);
const server = new Server(join(dist, "board.json"));

async function shot(board, scheme) {
  await board.page.bringToFront();
  await board.page.setViewport(size);
  await board.page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: scheme },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  const image = await board.page.screenshot({ encoding: "base64" });
  return `<img src="data:image/png;base64,${image}" width="${size.width}" height="${size.height}">`;
}

try {
  await server.start();
  await profile.start();
  const url = `${site.origin}/?board=team-42&debug&server=${encodeURIComponent(server.url)}`;
  const left = await BoardPage.open(profile, url);
  const right = await BoardPage.open(profile, url);
  for (const [column, titles] of Object.entries(cards))
    for (const title of titles) await left.mutate("add", { id: title, column, title });
  await left.mutate("finish", { id: "Proof-read chapter 3", done: true });
  await left.settled();
  await server.stop();
  await left.says({ connection: "offline" });
  await right.addColumn("doing");
  await right.mutate("finish", { id: "Order toner", done: true });
  await right.mutate("move", {
    id: "Order toner",
    column: "doing",
    before: "Fix the paper jam on floor two",
  });
  await left.says({ pending: 2 });
  await left.shows("doing", ["Order toner", ...cards.doing]);
  await left.page.evaluate((id) => document.querySelector(`[data-card="${id}"]`).focus(), cards.next[0]);
  const shots = [await shot(left, "light"), await shot(right, "dark")];
  const both = await profile.open("about:blank");
  await both.setViewport({ width: 2 * size.width + 8, height: size.height });
  await both.setContent(`<body style="margin:0;display:flex;gap:8px;background:#888">${shots.join("")}`);
  writeFileSync(file, await both.screenshot());
} finally {
  await profile.remove();
  await server.remove();
  await site.close();
}
