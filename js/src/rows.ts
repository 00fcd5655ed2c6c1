import type { AnyRow, SqlCell } from "./sql.ts";

// Bytes that are not UTF-8 become U+FFFD: SQLite lets any bytes be TEXT, and one such cell must not hide the rest.
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** A result as it crosses from the hub (PROTOCOL.md, Rows), read from front to back. */
class RowReader {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** A varint that is known to be a length or a count. */
  count(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.#view.getUint8(this.at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }

  #integer(): number | bigint {
    const start = this.at;
    const raw = this.count();
    // Zigzag: 2^53 and beyond have lost bits by now.
    if (raw < 2 ** 53) return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2;
    let big = 0n;
    for (let at = this.at - 1; at >= start; at -= 1)
      big = (big << 7n) | BigInt(this.#view.getUint8(at) & 0x7f);
    const value = (big >> 1n) ^ -(big & 1n);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  text(): string {
    const end = this.count() + this.at;
    const start = this.at;
    this.at = end;
    return utf8.decode(this.#bytes.subarray(start, end));
  }

  #blob(): Uint8Array {
    const end = this.count() + this.at;
    const start = this.at;
    this.at = end;
    return this.#bytes.slice(start, end);
  }

  #real(): number {
    const at = this.at;
    this.at += 8;
    return this.#view.getFloat64(at, true);
  }

  cell(): SqlCell {
    switch (this.#view.getUint8(this.at++)) {
      case 0:
        return null;
      case 1:
        return this.#integer();
      case 2:
        return this.#real();
      case 3:
        return this.text();
      case 4:
        return this.#blob();
      default:
        throw new RangeError("BUG: a cell of an unknown kind");
    }
  }

  skipCell(): void {
    switch (this.#view.getUint8(this.at++)) {
      case 0:
        return;
      case 1:
        this.count();
        return;
      case 2:
        this.at += 8;
        return;
      default: {
        const length = this.count();
        this.at += length;
      }
    }
  }
}

/** One delivery: its rows, and where the bytes of each are, so that the next can be compared with it. */
type Delivery = {
  bytes: Uint8Array<ArrayBuffer>;
  names: readonly string[];
  /** Where each row starts, and where the last one ends. */
  offsets: readonly number[];
  rows: readonly AnyRow[];
};

function makeRow(names: readonly string[], reader: RowReader): AnyRow {
  const row: AnyRow = {};
  for (const name of names) {
    const value = reader.cell();
    if (name === "__proto__") {
      Object.defineProperty(row, name, { value, enumerable: true, configurable: true, writable: true });
    } else row[name] = value;
  }
  return row;
}

function sameRow(a: Delivery, i: number, bytes: Uint8Array, start: number, end: number): boolean {
  const from = a.offsets[i] as number;
  if ((a.offsets[i + 1] as number) - from !== end - start) return false;
  for (let at = 0; at < end - start; at += 1) if (a.bytes[from + at] !== bytes[start + at]) return false;
  return true;
}

/** Decodes one statement's results; a row whose bytes did not change is the same object as before. */
export class RowDecoder {
  #last: Delivery | undefined;

  decode(bytes: Uint8Array<ArrayBuffer>): readonly AnyRow[] {
    const reader = new RowReader(bytes);
    const columns = reader.count();
    const names = Array.from({ length: columns }, () => reader.text());
    const count = reader.count();
    const offsets = new Array<number>(count + 1);
    for (let row = 0; row < count; row += 1) {
      offsets[row] = reader.at;
      for (let column = 0; column < columns; column += 1) reader.skipCell();
    }
    offsets[count] = reader.at;

    const last = this.#last?.names.join("\0") === names.join("\0") ? this.#last : undefined;
    const rows = new Array<AnyRow>(count);
    const before = last?.rows.length ?? 0;
    const shared = Math.min(before, count);
    const reuse = (row: number, old: number): boolean => {
      if (!last || !sameRow(last, old, bytes, offsets[row] as number, offsets[row + 1] as number))
        return false;
      rows[row] = last.rows[old] as AnyRow;
      return true;
    };
    // Rows mostly change in one place: what is before and after it is compared by place from either end.
    let head = 0;
    while (head < shared && reuse(head, head)) head += 1;
    let tail = 0;
    while (tail < shared - head && reuse(count - 1 - tail, before - 1 - tail)) tail += 1;
    for (let row = head; row < count - tail; row += 1) {
      if (before === count && reuse(row, row)) continue;
      reader.at = offsets[row] as number;
      rows[row] = makeRow(names, reader);
    }
    this.#last = { bytes, names, offsets, rows };
    return rows;
  }
}

/** The rows of one result. */
export const decodeRows = (bytes: Uint8Array<ArrayBuffer>): readonly AnyRow[] =>
  new RowDecoder().decode(bytes);
