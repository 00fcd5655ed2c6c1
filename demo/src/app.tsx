import type { Document, Problem, Status } from "offprint";
import { useDocument, useStatus } from "offprint/react";
import { useCallback, useEffect, useState } from "react";
import { address } from "./address.ts";
import { board } from "./board.ts";
import { BoardView, type Try } from "./board-view.tsx";
import { Header } from "./header.tsx";
import { type Notice, Notices } from "./notices.tsx";

function problemOf(error: unknown): Problem {
  const code = error instanceof Error && "code" in error ? String(error.code) : "error";
  return { code, message: error instanceof Error ? error.message : String(error) };
}

export function App() {
  const [opening, onStatus] = useState<Status>();
  const { doc, error } = useDocument(board, address.board, { server: address.server, onStatus });
  useEffect(() => {
    document.title = `${address.board} · Board`;
  }, []);
  useEffect(() => {
    if (address.debug) Object.assign(window, { board: doc });
  }, [doc]);
  if (error) return <Failure {...problemOf(error)} />;
  return doc ? <OpenBoard doc={doc} /> : <Opening reason={opening?.storage.reason} />;
}

function Opening({ reason }: { reason: Problem | null | undefined }) {
  return (
    <main className="opening" aria-live="polite">
      <p>Opening {address.board}…</p>
      {reason && (
        <p>
          <code>{reason.code}</code> {reason.message}
        </p>
      )}
    </main>
  );
}

function Failure({ code, message }: Problem) {
  return (
    <main className="failure" role="alert" data-failure={code}>
      <h1>{address.board}</h1>
      <p>This board cannot be opened.</p>
      <p>
        <code>{code}</code> {message}
      </p>
    </main>
  );
}

function OpenBoard({ doc }: { doc: Document<typeof board> }) {
  const status = useStatus(doc);
  const [refused, setRefused] = useState<Notice[]>([]);

  const attempt = useCallback<Try>((mutator, change) => {
    change.then(undefined, (error: unknown) => {
      const key = crypto.randomUUID();
      const dismiss = () => setRefused((before) => before.filter((notice) => notice.key !== key));
      setRefused((before) => [...before, { key, mutator, by: "device", ...problemOf(error), dismiss }]);
    });
  }, []);

  const rejected = status.rejections.map(
    ({ seq, name, code, message }): Notice => ({
      key: `rejection ${seq}`,
      mutator: name,
      by: "server",
      code,
      message,
      dismiss: () => attempt("dismiss", doc.dismiss(seq)),
      retry: () => attempt("retry", doc.retry(seq)),
    }),
  );

  return (
    <>
      <Header board={address.board} status={status} />
      <BoardView doc={doc} attempt={attempt} />
      <Notices notices={[...rejected, ...refused]} />
    </>
  );
}
