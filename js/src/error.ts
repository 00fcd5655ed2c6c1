import type { Code, Problem, Rejection, SqlValue } from "../../worker/src/rpc.generated.ts";

/** What went wrong, as a stable word; a mutator may have codes of its own. */
export type ErrorCode = Code | "not_loaded" | (string & {});

/** The one error that Offprint throws: `code` is for programs, `message` for people. */
export class OffprintError extends Error {
  override readonly name: string = "OffprintError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** @internal */
  static from({ code, message }: Problem): OffprintError {
    return new OffprintError(code, message);
  }
}

/** The server's refusal of one mutation: what its `confirmed` rejects with. */
export class Rejected extends OffprintError {
  override readonly name = "Rejected";
  /** The mutation's number: what `dismiss` and `retry` take. */
  readonly seq: number;
  /** The mutator's name. */
  readonly mutator: string;
  /** Its arguments; null if the device has lost them. */
  readonly args: Readonly<Record<string, SqlValue>> | null;
  /** What the server ran it on: the document at this Lsn, and what its next commit had decided before. */
  readonly lsn: number;

  constructor(rejection: Rejection) {
    super(rejection.code, rejection.message);
    this.seq = rejection.seq;
    this.mutator = rejection.name;
    this.args = rejection.args;
    this.lsn = rejection.lsn;
  }
}
