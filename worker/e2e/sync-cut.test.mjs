// Two profiles and a server that is killed again and again, with a network between them that cuts connections.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName, Profile } from "../../demo/e2e/lib/profile.mjs";
import { random, seed } from "../../demo/e2e/lib/random.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { Network } from "./lib/network.mjs";
import { evaluate, open, says } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";
import { Writer } from "./lib/writer.mjs";

/** How often the server is killed: OFFPRINT_KILLS, 50 for the long form. */
const KILLS = Number(process.env.OFFPRINT_KILLS ?? 5);
/** Bytes until a cut: mostly few, and at times enough for any catch-up. */
const someLength = (choose) => 1 + choose.below(2 ** (8 + choose.below(13)));

const rows = (page) =>
  evaluate(page, async () => {
    const all = (sql) => window.doc.query({ sql, params: [] });
    return {
      notes: (await all("SELECT id FROM note ORDER BY rowid")).map(({ id }) => id),
      once: (await all("SELECT id FROM once ORDER BY rowid")).map(({ id }) => id),
    };
  });

/** The hash of the confirmed document as a file. */
const confirmedFile = (page) =>
  evaluate(page, async () => {
    const { blob } = await window.doc.export({ confirmed: true });
    const hash = await crypto.subtle.digest("SHA-256", await (await blob()).arrayBuffer());
    return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  });

async function serversFile(server, id) {
  const answer = await fetch(`http://127.0.0.1:${server.port}/documents/${id}/export.db`);
  assert.equal(answer.status, 200);
  return createHash("sha256")
    .update(Buffer.from(await answer.arrayBuffer()))
    .digest("hex");
}

const settled = (page) => says(page, { connection: "online", pending: 0 }, { seconds: 120 });

test(`sync: over cut connections with a server that is killed, every durable write is there once, in ${browserName}`, {
  timeout: 200_000 + KILLS * 20_000,
}, async (t) => {
  t.diagnostic(`seed ${seed}, ${KILLS} kills`);
  const choose = random(seed);
  const folder = mkdtempSync(join(tmpdir(), "offprint-sync-"));
  const server = await new Server(writeDefinition(folder)).start();
  const network = await Network.to(server.port);
  const tabs = await Tabs.start();
  const elsewhere = new Tabs(tabs.served, await new Profile().start());
  t.after(async () => {
    if (!t.passed) t.diagnostic(`${await tabs.profile.account()}\n${await elsewhere.profile.account()}`);
    await elsewhere.profile.remove();
    await tabs.end();
    await network.close();
    await server.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  network.cut(() => someLength(choose));
  const writers = [];
  for (const [name, { served, profile }] of Object.entries({ mine: tabs, theirs: elsewhere })) {
    const page = await new Tabs(served, profile).tab();
    assert.equal(await open(page, "cut", { server: network.url }), "open");
    writers.push(new Writer(page, name));
  }
  for (const writer of writers) await writer.start();
  const decided = async () => (await writers[0].decided()) + (await writers[1].decided());
  for (let kill = 0; kill < KILLS; kill += 1) {
    const enough = (await decided()) + 1 + choose.below(300);
    await until(
      `${enough} writes are decided`,
      async () => {
        const now = await decided();
        return now >= enough || { not: now };
      },
      { seconds: 120, everyMs: 5 },
    );
    await server.kill();
    await server.start();
  }
  for (const writer of writers) await writer.stop();
  network.pass();
  const [mine, theirs] = writers.map(({ page }) => page);
  for (const page of [mine, theirs]) await settled(page);
  await until("both have the same rows", async () => {
    const [one, other] = [await rows(mine), await rows(theirs)];
    return JSON.stringify(one) === JSON.stringify(other) || { not: [one.notes.length, other.notes.length] };
  });
  const files = [await confirmedFile(mine), await confirmedFile(theirs), await serversFile(server, "cut")];
  assert.equal(new Set(files).size, 1, "the profiles and the server differ");
  assert.ok(network.cuts > 0, `only ${network.cuts} connections were cut`);

  const { notes, once } = await rows(mine);
  const written = [await writers[0].written(), await writers[1].written()];
  const isShared = (id) => id.startsWith("shared-");
  const all = (kind) => written.flatMap((outcomes) => outcomes[kind]);
  assert.deepEqual(all("failed"), []);
  assert.deepEqual(
    [...notes].sort(),
    all("durable")
      .filter((id) => !isShared(id))
      .sort(),
  );
  // Of each that only one may write, one was confirmed, and whoever else wrote it was told so.
  assert.deepEqual([...once].sort(), all("confirmed").filter(isShared).sort());
  for (const { durable, confirmed, rejected } of written) {
    const refused = durable.filter((id) => !confirmed.includes(id)).map((id) => `${id}: constraint`);
    assert.deepEqual([...rejected].sort(), refused.sort());
  }
  t.diagnostic(
    `${all("durable").length} durable, ${all("rejected").length} rejected, ${network.cuts} of ${network.taken.length} connections cut`,
  );
});
