import { type PointerEvent as ReactPointerEvent, useEffect, useRef, useState } from "react";

/** A place in a column: before a card, or last. */
export type Place = { column: string; before: string | null };

/** A card in the hand: how far it is from where it lies, and where it would go. */
export type Drag = { id: string; dx: number; dy: number; place: Place | undefined };

const SLOP = 5;

function placeAt(x: number, y: number, dragged: string): Place | undefined {
  const column = document
    .elementsFromPoint(x, y)
    .map((element) => element.closest<HTMLElement>("[data-column]"))
    .find((found) => found !== null);
  const id = column?.dataset.column;
  if (!column || id === undefined) return undefined;
  for (const card of column.querySelectorAll<HTMLElement>("[data-card]")) {
    const box = card.getBoundingClientRect();
    const before = card.dataset.card;
    if (before !== undefined && before !== dragged && y < box.top + box.height / 2)
      return { column: id, before };
  }
  return { column: id, before: null };
}

/** Lets cards be dragged with a mouse or pen, and by their grip with a finger; Escape lets go. */
export function useDrag(onDrop: (id: string, place: Place) => void) {
  const [drag, setDrag] = useState<Drag>();
  const stop = useRef<() => void>(undefined);
  useEffect(() => () => stop.current?.(), []);

  const grab = (event: ReactPointerEvent<HTMLElement>, id: string) => {
    const target = event.target instanceof Element ? event.target : undefined;
    const grip = target?.closest("[data-grip]");
    if (event.button !== 0 || (target?.closest("button, input, textarea, a") && !grip)) return;
    if (event.pointerType === "touch" && !grip) return;
    const { clientX: x, clientY: y, pointerId } = event;
    let held: Drag | undefined;
    const move = (now: PointerEvent) => {
      if (now.pointerId !== pointerId) return;
      const dx = now.clientX - x;
      const dy = now.clientY - y;
      if (!held && Math.hypot(dx, dy) < SLOP) return;
      getSelection()?.removeAllRanges();
      held = { id, dx, dy, place: placeAt(now.clientX, now.clientY, id) };
      setDrag(held);
    };
    const end = () => {
      listeners.abort();
      stop.current = undefined;
      setDrag(undefined);
    };
    const drop = (now: PointerEvent) => {
      if (now.pointerId !== pointerId) return;
      if (held?.place) onDrop(id, held.place);
      end();
    };
    stop.current?.();
    const listeners = new AbortController();
    const { signal } = listeners;
    stop.current = end;
    window.addEventListener("pointermove", move, { signal });
    window.addEventListener("pointerup", drop, { signal });
    window.addEventListener("pointercancel", end, { signal });
    window.addEventListener("keydown", (key) => key.key === "Escape" && end(), { signal });
  };
  return { drag, grab };
}
