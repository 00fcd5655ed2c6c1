import { type KeyboardEvent, useRef } from "react";

type Props = {
  value: string;
  label: string;
  /** The new text, or undefined when it stays as it was. */
  onDone: (text: string | undefined) => void;
};

/** A text in the course of being changed in its place: Enter or leaving keeps it, Escape does not. */
export function InlineText({ value, label, onDone }: Props) {
  const over = useRef(false);
  const end = (text: string | undefined) => {
    if (over.current) return;
    over.current = true;
    onDone(text === value ? undefined : text);
  };
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    event.stopPropagation();
    if (event.key === "Escape") end(undefined);
    if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
    event.preventDefault();
    end(event.currentTarget.value);
  };
  return (
    <textarea
      className="inline-text"
      aria-label={label}
      rows={1}
      defaultValue={value}
      // The person has just asked to write here.
      ref={(element) => {
        if (element && document.activeElement !== element) {
          element.focus();
          element.select();
        }
      }}
      onKeyDown={onKeyDown}
      onBlur={(event) => end(event.currentTarget.value)}
    />
  );
}
