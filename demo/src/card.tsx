import { type KeyboardEvent, type PointerEvent, useState } from "react";
import type { Card } from "./board.ts";
import type { Drag } from "./drag.ts";
import { Icon } from "./icon.tsx";
import { InlineText } from "./inline-text.tsx";

export type Direction = "left" | "right" | "up" | "down";

export type CardActions = {
  rename: (card: Card, title: string) => void;
  finish: (card: Card, done: boolean) => void;
  remove: (card: Card) => void;
  /** One step; what has no place to go stays. */
  step: (card: Card, direction: Direction) => void;
  /** Moves the focus to the neighbour. */
  look: (card: Card, direction: Direction) => void;
  grab: (event: PointerEvent<HTMLElement>, id: string) => void;
};

const arrows: Record<string, Direction> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
};
const directions = ["left", "right", "up", "down"] as const;

type Props = {
  card: Card;
  actions: CardActions;
  /** Which steps there is room for. */
  room: Record<Direction, boolean>;
  drag: Drag | undefined;
};

export function CardView({ card, actions, room, drag }: Props) {
  const [renaming, setRenaming] = useState(false);
  const held = drag?.id === card.id;

  const onKeyDown = (event: KeyboardEvent<HTMLLIElement>) => {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const direction = arrows[event.key];
    if (direction && event.shiftKey) actions.step(card, direction);
    else if (direction) actions.look(card, direction);
    else if (event.key === "Enter" || event.key === "F2") setRenaming(true);
    else if (event.key === " ") actions.finish(card, card.done === 0);
    else if (event.key === "Delete" || event.key === "Backspace") actions.remove(card);
    else return;
    event.preventDefault();
  };

  return (
    <li
      className="card"
      data-card={card.id}
      data-done={card.done === 1}
      data-held={held || undefined}
      data-drop={drag?.place?.before === card.id || undefined}
      aria-label={card.title}
      aria-keyshortcuts="Enter Space Delete Shift+ArrowLeft Shift+ArrowRight Shift+ArrowUp Shift+ArrowDown"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys walk over cards
      tabIndex={0}
      style={held ? { transform: `translate(${drag.dx}px, ${drag.dy}px) rotate(1.2deg)` } : undefined}
      onKeyDown={onKeyDown}
      onPointerDown={(event) => actions.grab(event, card.id)}
    >
      <span className="grip" data-grip>
        <Icon name="grip" />
      </span>
      <input
        type="checkbox"
        aria-label={`Done: ${card.title}`}
        checked={card.done === 1}
        onChange={(event) => actions.finish(card, event.target.checked)}
      />
      {renaming ? (
        <InlineText
          value={card.title}
          label="Title"
          onDone={(title) => {
            setRenaming(false);
            if (title !== undefined) actions.rename(card, title);
          }}
        />
      ) : (
        // biome-ignore lint/a11y/noStaticElementInteractions: a short cut for the button beside it
        <span className="title" onDoubleClick={() => setRenaming(true)}>
          {card.title}
        </span>
      )}
      <span className="tools">
        {directions.map((direction) => (
          <button
            key={direction}
            type="button"
            aria-label={`Move ${direction}: ${card.title}`}
            title={`Move ${direction}`}
            disabled={!room[direction]}
            onClick={() => actions.step(card, direction)}
          >
            <Icon name={direction} />
          </button>
        ))}
        <button
          type="button"
          aria-label={`Rename: ${card.title}`}
          title="Rename"
          onClick={() => setRenaming(true)}
        >
          <Icon name="rename" />
        </button>
        <button
          type="button"
          aria-label={`Delete: ${card.title}`}
          title="Delete"
          onClick={() => actions.remove(card)}
        >
          <Icon name="remove" />
        </button>
      </span>
    </li>
  );
}
