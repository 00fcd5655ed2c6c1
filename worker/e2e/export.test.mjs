// A document as a file that any SQLite opens, made in a real tab while others write, and back.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { evaluate, open, startWriting, stopWriting } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";

/** What the sqlite3 program says of a file; none where there is no such program. */
function stockSqlite(bytes, sql) {
  const folder = mkdtempSync(join(tmpdir(), "offprint-export-"));
  try {
    const file = join(folder, "export.db");
    writeFileSync(file, bytes);
    return execFileSync("sqlite3", [file, "PRAGMA integrity_check", sql], { encoding: "utf8" });
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Fills a document with this many notes of 4 KB. */
const fill = (page, count) =>
  evaluate(
    page,
    async (count) => {
      const writes = Array.from({ length: count }, (_, at) =>
        window.doc.mutate.add({ id: `note-${at}`, tab: "x".repeat(4000) }),
      );
      await Promise.all(writes);
    },
    count,
  );

describe(`export and import in ${browserName}`, () => {
  let tabs;

  before(async () => {
    tabs = await Tabs.start();
  });
  afterEach(() => tabs.closeTabs());
  after(() => tabs?.end());

  test("storage: what is exported is one state, while another tab goes on writing", async (t) => {
    const id = tabs.fresh();
    const page = await tabs.tab();
    assert.equal(await open(page, id), "open");
    await fill(page, 1500);
    const other = await tabs.tab();
    assert.equal(await open(other, id), "open");
    await startWriting(other, "late");
    const exported = await evaluate(page, async () => {
      const progress = [];
      const { lsn, size, blob } = await window.doc.export({ onProgress: ({ done }) => progress.push(done) });
      const bytes = new Uint8Array(await (await blob()).arrayBuffer());
      const text = Array.from({ length: Math.ceil(bytes.length / 8192) }, (_, at) =>
        String.fromCharCode(...bytes.subarray(at * 8192, (at + 1) * 8192)),
      );
      return { lsn, size, progress, base64: btoa(text.join("")) };
    });
    const { written, failed } = await stopWriting(other);
    assert.deepEqual(failed, []);
    assert.ok(written.length > 0);
    const bytes = Buffer.from(exported.base64, "base64");
    assert.equal(bytes.length, exported.size);
    assert.ok(exported.size > 6_000_000 && exported.progress.length >= 6, `${exported.size}`);
    assert.deepEqual(exported.progress.at(-1), exported.size);
    assert.equal(bytes.toString("latin1", 0, 16), "SQLite format 3\0");
    const said = stockSqlite(
      bytes,
      "SELECT count(*), count(DISTINCT id) FROM note WHERE id LIKE 'note-%'; SELECT count(*) <= count(DISTINCT id) FROM note",
    );
    if (said === undefined) t.diagnostic("there is no sqlite3 program here to open the file with");
    else assert.equal(said, "ok\n1500|1500\n1\n");
  });

  test("storage: what was exported becomes another document, in every tab, and is there again", async () => {
    const [from, to] = [tabs.fresh(), tabs.fresh()];
    const page = await tabs.tab();
    assert.equal(await open(page, from), "open");
    await fill(page, 700);
    const importing = (id, source) =>
      evaluate(
        page,
        async ({ id, source }) => {
          const { definition, open, sql } = window.offprint;
          const { blob } = await window.doc.export();
          const file = await blob();
          const sources = {
            blob: file,
            bytes: new Uint8Array(await file.arrayBuffer()),
            stream: file.stream(),
          };
          sources.noise = new Blob(["x".repeat(10_000)]);
          try {
            window.copy = await open(definition, id, { import: sources[source] });
            const [{ count }] = await window.copy.query(sql`SELECT count(*) AS count FROM note`);
            return count;
          } catch (error) {
            return error.code ?? String(error);
          }
        },
        { id, source },
      );
    assert.equal(await importing(to, "blob"), 700);
    assert.equal(await importing(to, "blob"), "exists");
    await evaluate(page, () => window.copy.mutate.add({ id: "more", tab: "x" }).durable);
    const other = await tabs.tab();
    assert.equal(await open(other, to), "open");
    assert.equal(await evaluate(other, () => window.doc.status.pending), 0);
    for (const source of ["bytes", "stream"]) assert.equal(await importing(tabs.fresh(), source), 700);
    const refused = tabs.fresh();
    assert.equal(await importing(refused, "noise"), "bad_file");
    assert.equal(await importing(refused, "blob"), 700);
    await tabs.profile.quit();
    await tabs.profile.start();
    const again = await tabs.tab();
    assert.equal(await open(again, to), "open");
    const [{ count }] = await evaluate(again, () =>
      window.doc.query(window.offprint.sql`SELECT count(*) AS count FROM note`),
    );
    assert.equal(count, 701);
  });

  test("storage: an export that is not read to its end is given up, and the document closes", async () => {
    const page = await tabs.tab();
    assert.equal(await open(page, tabs.fresh()), "open");
    await fill(page, 800);
    const read = await evaluate(page, async () => {
      const { stream } = await window.doc.export();
      const reader = stream.getReader();
      const { value } = await reader.read();
      await reader.cancel();
      const unread = await window.doc.export();
      await window.doc.close();
      const code = await unread.blob().catch((error) => error.code);
      return { first: value.length, code };
    });
    assert.deepEqual(read, { first: 1 << 20, code: "closed" });
  });
});
