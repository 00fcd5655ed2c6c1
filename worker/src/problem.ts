import type { Code, Problem } from "./rpc.generated.ts";

export const problem = (code: Code | "not_loaded", message: string): Problem => ({ code, message });

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : "");

/** Somebody else has the file, or a handle that was ours is not any more: no sign of missing storage. */
export const isHeld = (error: unknown): boolean =>
  ["NoModificationAllowedError", "InvalidStateError"].includes(nameOf(error));

/** The device is full, as each browser says it. */
export const isQuota = (error: unknown): boolean =>
  nameOf(error) === "QuotaExceededError" ||
  /NO_DEVICE_SPACE|quota/i.test(`${nameOf(error)} ${messageOf(error)}`);
