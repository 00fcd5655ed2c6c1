import { useState } from "react";
import { AddText } from "./add-text.tsx";
import type { Card, Column } from "./board.ts";
import { type CardActions, CardView } from "./card.tsx";
import type { Drag } from "./drag.ts";
import { Icon } from "./icon.tsx";
import { InlineText } from "./inline-text.tsx";

export type ColumnActions = {
  rename: (column: Column, name: string) => void;
  remove: (column: Column) => void;
  add: (column: Column, title: string) => void;
};

type Props = {
  column: Column;
  cards: readonly Card[];
  first: boolean;
  last: boolean;
  actions: ColumnActions;
  cardActions: CardActions;
  drag: Drag | undefined;
};

export function ColumnView({ column, cards, first, last, actions, cardActions, drag }: Props) {
  const [renaming, setRenaming] = useState(false);
  const done = cards.filter((card) => card.done === 1).length;
  const over = drag?.place?.column === column.id;
  return (
    <section
      className="column"
      data-column={column.id}
      data-over={over || undefined}
      aria-label={column.name}
    >
      <header>
        {renaming ? (
          <InlineText
            value={column.name}
            label="Column's name"
            onDone={(name) => {
              setRenaming(false);
              if (name !== undefined) actions.rename(column, name);
            }}
          />
        ) : (
          <h2>
            <button type="button" title="Rename" onClick={() => setRenaming(true)}>
              {column.name}
            </button>
          </h2>
        )}
        <span className="count" title={`${done} of ${cards.length} done`}>
          {done > 0 ? `${done}/${cards.length}` : cards.length}
        </span>
        <button
          type="button"
          className="remove"
          aria-label={`Delete column: ${column.name}`}
          title="Delete column"
          onClick={() => actions.remove(column)}
        >
          <Icon name="remove" />
        </button>
      </header>
      <ul data-drop={(over && drag?.place?.before === null) || undefined}>
        {cards.map((card, index) => (
          <CardView
            key={card.id}
            card={card}
            actions={cardActions}
            room={{ left: !first, right: !last, up: index > 0, down: index < cards.length - 1 }}
            drag={drag}
          />
        ))}
      </ul>
      <AddText label="Add a card" onAdd={(title) => actions.add(column, title)} />
    </section>
  );
}
