import type { Code, Problem } from "./rpc.generated.ts";

export const problem = (code: Code | "not_loaded", message: string): Problem => ({ code, message });

/** An error that knows how it is told. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly problem: Problem;

  constructor(code: Code | "not_loaded", message: string) {
    super(message);
    this.problem = problem(code, message);
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : "");

/** Somebody else has the file, or a handle that was ours is not any more: no sign of missing storage. */
export const isHeld = (error: unknown): boolean =>
  ["NoModificationAllowedError", "InvalidStateError"].includes(nameOf(error));

/** The device is full, as each browser says it. */
export const isQuota = (error: unknown): boolean =>
  nameOf(error) === "QuotaExceededError" ||
  /NO_DEVICE_SPACE|quota/i.test(`${nameOf(error)} ${messageOf(error)}`);
