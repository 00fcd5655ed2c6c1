import { type FormEvent, useState } from "react";
import { Icon } from "./icon.tsx";

type Props = { label: string; onAdd: (text: string) => void };

/** A line to write something new in; it stays focused for the next one. */
export function AddText({ label, onAdd }: Props) {
  const [text, setText] = useState("");
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    onAdd(text);
    setText("");
  };
  return (
    <form className="add-text" onSubmit={onSubmit}>
      <Icon name="add" />
      <input
        aria-label={label}
        placeholder={label}
        value={text}
        enterKeyHint="done"
        autoComplete="off"
        onChange={(event) => setText(event.target.value)}
      />
    </form>
  );
}
