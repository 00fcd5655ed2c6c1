import type { Document } from "offprint";
import { useQuery } from "offprint/react";
import { useEffect, useMemo, useRef, useState } from "react";
import { AddText } from "./add-text.tsx";
import { type board, type Card, cards as cardsQuery, columns as columnsQuery } from "./board.ts";
import type { CardActions, Direction } from "./card.tsx";
import { type ColumnActions, ColumnView } from "./column.tsx";
import { type Place, useDrag } from "./drag.ts";

/** Waits for a change to be on the device, or tells why it was refused. */
export type Try = (mutator: string, change: PromiseLike<unknown>) => void;

type Props = { doc: Document<typeof board>; attempt: Try };

const focusCard = (id: string) =>
  document.querySelector<HTMLElement>(`[data-card="${CSS.escape(id)}"]`)?.focus();

export function BoardView({ doc, attempt }: Props) {
  const columns = useQuery(doc, columnsQuery);
  const cards = useQuery(doc, cardsQuery);
  const [said, setSaid] = useState("");
  // A card that changes its column is drawn anew: the focus goes with it.
  const follow = useRef<string>(undefined);

  const lanes = useMemo(() => {
    const lanes = new Map((columns ?? []).map((column) => [column.id, [] as Card[]]));
    for (const card of cards ?? []) lanes.get(card.column_id)?.push(card);
    return lanes;
  }, [columns, cards]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: after each new list of cards
  useEffect(() => {
    if (follow.current !== undefined) focusCard(follow.current);
    follow.current = undefined;
  }, [cards]);

  const { mutate } = doc;
  const move = (id: string, { column, before }: Place) =>
    attempt("move", mutate.move({ id, column, before }));
  const { drag, grab } = useDrag((id, place) => {
    if (place.before !== id) move(id, place);
  });

  if (!columns || !cards) return null;

  const beside = (card: Card, direction: Direction) => {
    const at = columns.findIndex((column) => column.id === card.column_id);
    const lane = lanes.get(card.column_id) ?? [];
    const index = lane.findIndex(({ id }) => id === card.id);
    const column = columns[at + (direction === "left" ? -1 : direction === "right" ? 1 : 0)];
    return { column, lane: lanes.get(column?.id ?? "") ?? [], index };
  };

  const cardActions: CardActions = {
    rename: ({ id }, title) => attempt("rename", mutate.rename({ id, title })),
    finish: ({ id }, done) => attempt("finish", mutate.finish({ id, done })),
    remove: ({ id }) => attempt("remove", mutate.remove({ id })),
    grab,
    step(card, direction) {
      const { column, lane, index } = beside(card, direction);
      const to = direction === "up" ? index - 1 : direction === "down" ? index + 2 : index;
      if (!column || to < 0 || (direction === "down" && index === lane.length - 1)) return;
      if (document.activeElement instanceof HTMLElement && document.activeElement.dataset.card === card.id)
        follow.current = card.id;
      move(card.id, { column: column.id, before: lane[to]?.id ?? null });
      setSaid(
        `“${card.title}” moved ${direction}${column.id === card.column_id ? "" : ` to ${column.name}`}.`,
      );
    },
    look(card, direction) {
      const { lane, index } = beside(card, direction);
      const next =
        direction === "up" || direction === "down"
          ? lane[index + (direction === "up" ? -1 : 1)]
          : lane[Math.min(index, lane.length - 1)];
      if (next) focusCard(next.id);
    },
  };

  const columnActions: ColumnActions = {
    rename: ({ id }, name) => attempt("renameColumn", mutate.renameColumn({ id, name })),
    remove: ({ id }) => attempt("removeColumn", mutate.removeColumn({ id })),
    add: ({ id: column }, title) => attempt("add", mutate.add({ id: crypto.randomUUID(), column, title })),
  };

  return (
    <>
      <main className="board" data-dragging={drag !== undefined || undefined}>
        {columns.map((column, index) => (
          <ColumnView
            key={column.id}
            column={column}
            cards={lanes.get(column.id) ?? []}
            first={index === 0}
            last={index === columns.length - 1}
            actions={columnActions}
            cardActions={cardActions}
            drag={drag}
          />
        ))}
        <div className="new-column">
          <AddText
            label="Add a column"
            onAdd={(name) => attempt("addColumn", mutate.addColumn({ id: crypto.randomUUID(), name }))}
          />
        </div>
      </main>
      <p className="keys">
        Drag a card, or walk with the <kbd>arrow keys</kbd>: <kbd>Shift</kbd> + arrow moves it,{" "}
        <kbd>Enter</kbd> renames, <kbd>Space</kbd> marks it done, <kbd>Delete</kbd> removes it.
      </p>
      <p className="said" aria-live="polite">
        {said}
      </p>
    </>
  );
}
