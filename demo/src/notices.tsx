import { Icon } from "./icon.tsx";

/** Something that was refused. */
export type Notice = {
  key: string;
  /** What was being done: a mutator's name, `dismiss` or `retry`. */
  mutator: string;
  /** Who refused: this device at once, or the server later. */
  by: "device" | "server";
  code: string;
  message: string;
  dismiss: () => void;
  /** Does it once more, if that may help. */
  retry?: () => void;
};

const words: Record<string, string> = {
  add: "Adding the card",
  rename: "Renaming the card",
  move: "Moving the card",
  finish: "Marking the card",
  remove: "Deleting the card",
  addColumn: "Adding the column",
  renameColumn: "Renaming the column",
  removeColumn: "Deleting the column",
  dismiss: "Dismissing the notice",
  retry: "Trying again",
};

function sentence({ mutator, by }: Notice): string {
  const what = words[mutator] ?? mutator;
  return by === "server" ? `${what} was undone: the server refused it` : `${what} was refused`;
}

export function Notices({ notices }: { notices: readonly Notice[] }) {
  return (
    <ul className="notices" aria-label="Refused changes" aria-live="assertive">
      {notices.map((notice) => (
        <li key={notice.key} data-refused={notice.by} data-code={notice.code}>
          <strong>{sentence(notice)}</strong>
          <p>
            <code>{notice.code}</code> {notice.message}
          </p>
          {notice.retry && (
            <button type="button" className="retry" onClick={notice.retry}>
              Try again
            </button>
          )}
          <button type="button" aria-label="Dismiss" onClick={notice.dismiss}>
            <Icon name="remove" />
          </button>
        </li>
      ))}
    </ul>
  );
}
