import { until, within } from "../../../demo/e2e/lib/poll.mjs";

/** Opens a document in a page, with `auth: true` and the page's own `auth`; resolves with "open" or the error's code. */
export const open = (page, id, options = {}) =>
  within(
    90,
    `${id} opens`,
    page.evaluate(
      async ({ id, options }) => {
        const { definition, other } = window.offprint;
        window.statuses = [];
        try {
          window.doc = await window.offprint.open(options.other ? other : definition, id, {
            ...options,
            ...(options.auth && { auth: () => window.auth() }),
            onStatus: (status) => window.statuses.push(status),
          });
          return "open";
        } catch (error) {
          window.failure = error;
          return error.code ?? String(error);
        }
      },
      { id, options },
    ),
  );

/** Starts opening without waiting for it. */
export const startOpening = (page, id) =>
  page.evaluate((id) => {
    window.statuses = [];
    window.opening = window.offprint
      .open(window.offprint.definition, id, { onStatus: (status) => window.statuses.push(status) })
      .then((doc) => {
        window.doc = doc;
      });
  }, id);

/** Writes one note and waits for a stage. */
export const add = (page, id, stage = "durable") =>
  within(
    60,
    `note ${id} is ${stage}`,
    page.evaluate(({ id, stage }) => window.doc.mutate.add({ id, tab: "x" })[stage], { id, stage }),
  );

/** Starts writing notes one after the other, each counted once it is durable. */
export const startWriting = (page, prefix) =>
  page.evaluate((prefix) => {
    const writer = { written: [], failed: [], slowest: 0, stop: false };
    window.writer = writer;
    const { doc } = window;
    writer.ended = (async () => {
      for (let n = 0; !writer.stop; n += 1) {
        const began = performance.now();
        try {
          await doc.mutate.add({ id: `${prefix}-${n}`, tab: prefix });
          writer.written.push(`${prefix}-${n}`);
        } catch (error) {
          writer.failed.push(`${error.code}: ${error.message}`);
          return;
        }
        writer.slowest = Math.max(writer.slowest, performance.now() - began);
      }
    })();
  }, prefix);

export const written = (page) => page.evaluate(() => window.writer.written.length);

/** Makes no further notes, and waits for the last one. */
export const stopWriting = (page) =>
  evaluate(page, async () => {
    const { writer } = window;
    writer.stop = true;
    await writer.ended;
    const { written, failed, slowest } = writer;
    return { written, failed, slowest };
  });

export const notes = (page) =>
  within(
    60,
    "notes are read",
    page.evaluate(async () => {
      const rows = await window.doc.query(window.offprint.sql`SELECT id FROM note ORDER BY rowid`);
      return rows.map(({ id }) => id);
    }),
  );

/** What is wrong with the notes: lost, twice, or a hole before one that is there. */
export const wrong = (page, expected) =>
  within(
    120,
    "the notes are checked",
    page.evaluate(async (expected) => {
      const rows = await window.doc.query(window.offprint.sql`SELECT id FROM note`);
      const there = new Set(rows.map(({ id }) => id));
      const lost = expected.filter((id) => !there.has(id));
      const holes = [...there].filter((id) => {
        const [, before, n] = /^(.*-)(\d+)$/.exec(id);
        return Number(n) > 0 && !there.has(`${before}${n - 1}`);
      });
      return { lost, holes, twice: rows.length - there.size };
    }, expected),
  );

export const close = (page) =>
  within(
    30,
    "the document closes",
    page.evaluate(() => window.doc.close()),
  );

export const evaluate = (page, body, argument) =>
  within(90, "the page answers", page.evaluate(body, argument));

/** Waits until the document's status says all of this. */
export const says = (page, wanted, options) =>
  until(
    `the status says ${JSON.stringify(wanted)}`,
    async () => {
      const status = await evaluate(page, () => window.doc.status);
      return Object.entries(wanted).every(([name, value]) => status[name] === value) || { not: status };
    },
    options,
  );

/** The living hubs, each by the lock it holds. */
export const hubs = (page) =>
  evaluate(page, async () => {
    const { held } = await navigator.locks.query();
    return held.map(({ name }) => name).filter((name) => name.startsWith("offprint|hub|"));
  });
