import type { Status } from "offprint";
import { Icon } from "./icon.tsx";

const connections: Record<Status["connection"], string> = {
  none: "No server",
  offline: "Offline",
  connecting: "Connecting",
  online: "Online",
};

const storages: Record<Status["storage"]["kind"], string> = {
  none: "Opening the device’s storage",
  opfs: "Kept on this device",
  indexedDb: "Kept on this device",
  memory: "Kept in memory",
};

function pendingText(status: Status): string {
  if (status.pending > 0) return `${status.pending} ${status.pending === 1 ? "change" : "changes"} to send`;
  return status.connection === "none" ? "" : "All changes sent";
}

export function Header({ board, status }: { board: string; status: Status }) {
  const { connection, connectionProblem: problem, pending, storage } = status;
  return (
    <header className="top">
      <h1>{board}</h1>
      <ul className="status" aria-label="Status" aria-live="polite">
        <li data-connection={connection} title={problem ? `${problem.code}: ${problem.message}` : undefined}>
          <span className="dot" />
          {connections[connection]}
        </li>
        <li data-pending={pending}>{pendingText(status)}</li>
        <li
          data-storage={storage.kind}
          title={
            storage.reason ? `${storage.reason.code}: ${storage.reason.message}` : storage.kind.toUpperCase()
          }
        >
          {storages[storage.kind]}
          {storage.kind !== "none" && !storage.durable && ", until the last tab closes"}
        </li>
      </ul>
      <a className="second-tab" href={location.href} target="_blank" rel="noopener">
        Open a second tab
        <Icon name="tab" />
      </a>
    </header>
  );
}
