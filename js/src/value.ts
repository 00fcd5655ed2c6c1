import type { SqlValue } from "../../worker/src/rpc.generated.ts";
import { OffprintError } from "./error.ts";

const LOWEST = -(2n ** 63n);
const HIGHEST = 2n ** 63n - 1n;

function complaint(value: unknown): string {
  if (value === undefined) return "is undefined; use null for NULL";
  if (typeof value === "number") return "is NaN, which SQLite cannot hold";
  if (typeof value === "bigint") return "exceeds 64 bits";
  if (typeof value === "string") return "has half of a surrogate pair, which is not text";
  if (value instanceof Date) return "is a Date; use its toISOString() or getTime()";
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return "is bytes, but not a Uint8Array";
  return `is ${typeof value === "object" ? "an object" : `a ${typeof value}`}, which SQLite cannot hold`;
}

function fits(value: unknown): value is SqlValue {
  switch (typeof value) {
    case "boolean":
      return true;
    case "number":
      return !Number.isNaN(value);
    case "bigint":
      return value >= LOWEST && value <= HIGHEST;
    case "string":
      return !/\p{Surrogate}/u.test(value);
    default:
      return value === null || value instanceof Uint8Array;
  }
}

/** The value as it is kept until it is sent, or `bad_argument` that says which one is not a SQLite value. */
export function checkValue(value: unknown, what: string): SqlValue {
  if (!fits(value)) throw new OffprintError("bad_argument", `${what} ${complaint(value)}`);
  // A view would carry all of its buffer along, and could change before it is sent.
  return value instanceof Uint8Array ? value.slice() : value;
}

/** A mutator's arguments, each checked. */
export function checkArgs(mutator: string, args: unknown): Record<string, SqlValue> {
  if (args === undefined) return {};
  if (typeof args !== "object" || args === null || Array.isArray(args)) {
    throw new OffprintError("bad_argument", `${mutator} takes one object with its arguments`);
  }
  const checked: Record<string, SqlValue> = Object.create(null);
  for (const [name, value] of Object.entries(args)) {
    checked[name] = checkValue(value, `${mutator}: argument ${name}`);
  }
  return checked;
}
