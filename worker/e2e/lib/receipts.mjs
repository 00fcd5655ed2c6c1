import { evaluate } from "./notes.mjs";

/**
 * Starts writing notes without waiting until they are durable. Each that is leaves its id in localStorage, which is there
 * when the page is not any more.
 */
export const keepWriting = (page, prefix) =>
  evaluate(
    page,
    (prefix) => {
      const { doc } = window;
      const write = async (writer) => {
        for (let n = 0; ; n += 1) {
          const id = `${prefix}-${writer}-${n}`;
          const note = doc.mutate.add({ id, tab: "x".repeat((n * 37) % 400) });
          note.durable.then(() => localStorage.setItem(`${doc.id} ${id}`, ""));
          await note.applied;
        }
      };
      for (const writer of [0, 1, 2]) write(writer);
    },
    prefix,
  );

/** The notes of the page's document that were durable. */
export const receipts = (page, document) =>
  evaluate(
    page,
    (document) =>
      Object.keys(localStorage)
        .map((key) => key.split(" "))
        .filter(([of]) => of === document)
        .map(([, id]) => id),
    document,
  );
