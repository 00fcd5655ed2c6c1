import { evaluate } from "./notes.mjs";

/** One profile that writes all the time, and takes down what becomes of each write. */
export class Writer {
  constructor(page, name) {
    this.page = page;
    this.name = name;
  }

  /** Begins: notes of its own, and every fifth time what only one of all writers can. */
  start() {
    return evaluate(
      this.page,
      (name) => {
        const { doc } = window;
        const writing = { durable: [], confirmed: [], rejected: [], failed: [], stopped: false };
        window.writing = writing;
        const decided = [];
        const write = async (at) => {
          const shared = at % 5 === 4;
          const id = shared ? `shared-${at}` : `${name}-${at}`;
          const write = shared ? doc.mutate.once({ id }) : doc.mutate.add({ id, tab: name });
          try {
            await write;
          } catch (error) {
            // The other's is here already: nothing was made.
            if (!shared || error.code !== "constraint") writing.failed.push(`${id}: ${error.code}`);
            return;
          }
          writing.durable.push(id);
          decided.push(
            write.confirmed.then(
              () => writing.confirmed.push(id),
              (error) => writing.rejected.push(`${id}: ${error.code}`),
            ),
          );
        };
        const run = async () => {
          for (let at = 0; !writing.stopped; at += 1) {
            await write(at);
            await new Promise((resolve) => setTimeout(resolve, 15));
          }
          await Promise.all(decided);
        };
        writing.done = run();
      },
      this.name,
    );
  }

  /** How many of its writes were confirmed or rejected so far. */
  decided() {
    return evaluate(this.page, () => window.writing.confirmed.length + window.writing.rejected.length);
  }

  /** Makes no further writes. */
  stop() {
    return evaluate(this.page, () => {
      window.writing.stopped = true;
    });
  }

  /** What became of all writes; they have to be decided. */
  written() {
    return evaluate(this.page, async () => {
      const { done, durable, confirmed, rejected, failed } = window.writing;
      await done;
      return { durable, confirmed, rejected, failed };
    });
  }
}
