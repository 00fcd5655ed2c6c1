import { isHeld, isQuota, messageOf, problem } from "./problem.ts";
import type { Problem } from "./rpc.generated.ts";
import type { DiskAnswer, DiskBatch, DiskOp, DiskValue, FileName } from "./rpc.ts";

/** Every file of a document. */
export const NAMES: readonly FileName[] = ["head", "log-0", "log-1", "base-0", "base-1", "aside"];

/** A document's files on some disk: open, and nobody else's while they are. */
export type Files = {
  /** Whether there was no head yet when they were opened: a document has one from its first opening on. */
  readonly empty: boolean;
  /** Carries operations out in order; an exception leaves none, some or all of them done. */
  run(ops: readonly DiskOp[]): DiskValue[] | Promise<DiskValue[]>;
  close(): void;
};

/** There is no room left. */
export class QuotaError extends Error {
  override readonly name = "QuotaExceededError";
}

/** Carries a batch out: one answer, or the reason for which these files can no longer be used. */
export async function carryOut(
  files: Files,
  { no, ops }: DiskBatch,
): Promise<{ answer: DiskAnswer } | { lost: Problem }> {
  try {
    return { answer: { no, values: await files.run(ops) } };
  } catch (error) {
    if (isHeld(error)) {
      // The browser took them away; the next disk is given the same batch.
      return { lost: problem("disk", `the document's files were taken away: ${messageOf(error)}`) };
    }
    const code = isQuota(error) ? "quota" : "disk";
    const message = code === "quota" ? `the device is full: ${messageOf(error)}` : messageOf(error);
    return { answer: { no, problem: problem(code, message) } };
  }
}
