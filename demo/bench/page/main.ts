import { type Document, open, sql } from "offprint";
import { todos } from "./definition.ts";
import { Floor } from "./floor.ts";

type Doc = Document<typeof todos>;

const clock = () => performance.timeOrigin + performance.now();
const keyOf = (n: number) => `todo-${String(n).padStart(6, "0")}`;

/** How long each of `count` runs took, in ms, one after the other. */
async function times(count: number, run: (at: number) => Promise<unknown>, after?: () => Promise<unknown>) {
  const taken: number[] = [];
  for (let at = 0; at < count; at += 1) {
    const began = performance.now();
    await run(at);
    taken.push(performance.now() - began);
    if (after) await after();
  }
  return taken;
}

/** How long the page's thread needs to come round. */
class Rounds {
  #longest = 0;
  #last = performance.now();
  readonly #timer = setInterval(() => this.#round(), 0);

  #round() {
    const now = performance.now();
    this.#longest = Math.max(this.#longest, now - this.#last);
    this.#last = now;
  }

  /** The longest round, in ms. */
  stop() {
    clearInterval(this.#timer);
    this.#round();
    return this.#longest;
  }
}

/** What the bench's driver calls in the page. */
class Bench {
  #doc: Doc | undefined;
  #floor: Floor | undefined;
  #serial = 0;
  /** When each row's new title was seen here, on the shared clock. */
  readonly seen = new Map<string, number>();

  get doc(): Doc {
    if (!this.#doc) throw new Error("no document is open");
    return this.#doc;
  }

  get floor(): Floor {
    if (!this.#floor) throw new Error("the floor was not started");
    return this.#floor;
  }

  async startFloor() {
    this.#floor = await Floor.start();
  }

  async boot(name: string) {
    return await times(1, () => Floor.boot(name));
  }

  /** Opens a document and resolves with the ms until the first row is here. */
  async open(id: string, server: string, row?: number): Promise<number> {
    const began = performance.now();
    this.#doc = await open(todos, id, { server });
    const rows = await this.#doc.query(sql`SELECT * FROM todo WHERE id = ${keyOf(row ?? 0)}`);
    if (row !== undefined && rows.length !== 1) throw new Error(`row ${row} is not there`);
    return performance.now() - began;
  }

  /** Like `open`, with the longest time that the page's own thread did not come round, and what was told meanwhile. */
  async openWatched(id: string, server: string) {
    const rounds = new Rounds();
    const told: (number | undefined)[] = [];
    const began = performance.now();
    this.#doc = await open(todos, id, {
      server,
      onStatus: ({ progress }) => told.push(progress?.done),
    });
    await this.scan();
    const taken = performance.now() - began;
    return { taken, stall: rounds.stop(), progress: told.filter((done) => done !== undefined).length };
  }

  /** Reads one row after the other until the watched row has this title; resolves with the slowest of each. */
  async readUntil(title: string) {
    const rounds = new Rounds();
    let [slowest, reads] = [0, 0];
    while (!this.seen.has(title)) {
      const began = performance.now();
      await this.doc.query(sql`SELECT * FROM todo WHERE id = ${keyOf((reads * 37) % 5000)}`);
      slowest = Math.max(slowest, performance.now() - began);
      reads += 1;
    }
    return { seen: this.seen.get(title), slowest, reads, stall: rounds.stop() };
  }

  status() {
    return this.doc.status;
  }

  async bulk(from: number, to: number) {
    await this.doc.mutate.bulk({ from, to }).confirmed;
  }

  /** The document's bytes. */
  async size() {
    const { size, stream } = await this.doc.export();
    await stream.cancel();
    return size;
  }

  /** Every row, read once. */
  async scan() {
    await this.doc.query(sql`SELECT sum(length(title)) FROM todo`);
  }

  async fill(from: number, to: number) {
    await this.doc.mutate.fill({ from, to }).confirmed;
  }

  roundTrips(count: number) {
    return times(count, () => this.floor.roundTrip());
  }

  appends(count: number) {
    return times(count, () => this.floor.append());
  }

  /** Until a stage of one write is reached, of a document at rest: each is confirmed before the next. */
  atRest(stage: "applied" | "durable", count: number) {
    let write: ReturnType<Doc["mutate"]["toggle"]> | undefined;
    return times(
      count,
      () => {
        write = this.doc.mutate.toggle({ id: keyOf(this.#serial++ % 5000) });
        return write[stage];
      },
      async () => write?.confirmed,
    );
  }

  /** Each is handed in when the one before is durable, and so while that one is being confirmed. */
  durable(count: number) {
    return times(count, async () => {
      await this.doc.mutate.toggle({ id: keyOf(this.#serial++ % 5000) });
    });
  }

  confirmed(count: number, mutator: "toggle" | "insert") {
    return times(count, () => this.#write(mutator).confirmed);
  }

  /** Durable writes per second with so many in flight. */
  async inFlight(flight: number, count: number): Promise<number> {
    const began = performance.now();
    let left = count;
    const lane = async () => {
      while (left > 0) {
        left -= 1;
        await this.doc.mutate.toggle({ id: keyOf(this.#serial++ % 5000) });
      }
    };
    await Promise.all(Array.from({ length: flight }, lane));
    return (count / (performance.now() - began)) * 1000;
  }

  reads(count: number) {
    return times(count, (at) =>
      this.doc.query(sql`SELECT * FROM todo WHERE id = ${keyOf((at * 37) % 5000)}`),
    );
  }

  /** Watches one row, answers on the channel when it changes, and answers questions about the clock. */
  watch(row: number) {
    const channel = new BroadcastChannel("bench");
    const seen = (kind: string, value: string) => {
      this.seen.set(value, clock());
      channel.postMessage({ kind, value });
    };
    const port = new BroadcastChannel("clock");
    port.onmessage = ({ data }) => {
      if (data.ask) port.postMessage({ told: clock() });
    };
    return new Promise<void>((resolve) => {
      this.doc.subscribe(
        sql<{ title: string }>`SELECT title FROM todo WHERE id = ${keyOf(row)}`,
        ([first]) => {
          seen("seen", first?.title ?? "");
          resolve();
        },
      );
    });
  }

  /** How far ahead the watcher's clock is, in ms: the answer of the fastest of many round trips. */
  async clockAhead(): Promise<number> {
    const port = new BroadcastChannel("clock");
    let best = { taken: Number.POSITIVE_INFINITY, ahead: 0 };
    for (let at = 0; at < 100; at += 1) {
      const began = clock();
      const told = await new Promise<number>((resolve) => {
        port.onmessage = ({ data }) => data.told && resolve(data.told);
        port.postMessage({ ask: true });
      });
      const ended = clock();
      if (ended - began < best.taken) best = { taken: ended - began, ahead: told - (began + ended) / 2 };
    }
    port.close();
    return best.ahead;
  }

  /** Retitles the watched row and resolves with when each was asked for; the watcher has seen each before the next. */
  async retitle(row: number, count: number): Promise<{ value: string; asked: number }[]> {
    const channel = new BroadcastChannel("bench");
    const asked: { value: string; asked: number }[] = [];
    for (let at = 0; at < count; at += 1) {
      const value = `title ${this.#serial++} ${crypto.randomUUID()}`;
      const seen = new Promise<void>((resolve) => {
        channel.onmessage = ({ data }) => data.value === value && resolve();
      });
      asked.push({ value, asked: clock() });
      await this.doc.mutate.retitle({ id: keyOf(row), title: value });
      await seen;
    }
    channel.close();
    return asked;
  }

  seenAt(values: string[]) {
    return values.map((value) => this.seen.get(value));
  }

  clock() {
    return clock();
  }

  /** Hands in mutations and resolves when all are durable. */
  async pend(count: number) {
    await Promise.all(Array.from({ length: count }, () => this.#write("toggle")));
  }

  /** Gives random rows new titles of a kilobyte, each confirmed before the next. */
  async rewrite(count: number) {
    for (let left = count; left > 0; left -= 1) {
      const noise = crypto.getRandomValues(new Uint8Array(500));
      const title = Array.from(noise, (byte) => byte.toString(16).padStart(2, "0")).join("");
      const row = Math.floor(Math.random() * 10_000);
      await this.doc.mutate.retitle({ id: keyOf(row), title }).confirmed;
    }
  }

  async confirmOne(row: number, title: string) {
    await this.doc.mutate.retitle({ id: keyOf(row), title }).confirmed;
  }

  #write(mutator: "toggle" | "insert") {
    const at = this.#serial++;
    if (mutator === "toggle") return this.doc.mutate.toggle({ id: keyOf((at * 61) % 5000) });
    return this.doc.mutate.insert({
      id: crypto.randomUUID(),
      list: `list-${String(at % 100).padStart(2, "0")}`,
      title: `Something to do, and it is number ${at}`,
    });
  }
}

Object.assign(window, { bench: new Bench() });
