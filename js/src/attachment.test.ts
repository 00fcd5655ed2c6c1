import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Status } from "../../worker/src/rpc.generated.ts";
import type { HubMessage, TabMessage } from "../../worker/src/rpc.ts";
import { Attachment } from "./attachment.ts";
import { OffprintError } from "./error.ts";

/** What a page gives to a tab, as far as an attachment needs it; Web Locks are those of hubs. */
const page = new Map<string, () => void>();
const locks = {
  request: async (name: string, ...rest: unknown[]) => {
    const hold = rest.at(-1) as () => unknown;
    if (name.startsWith("offprint|tab|")) await hold();
    else page.set(name, () => hold());
  },
};
const frame = { hidden: false, contentWindow: undefined, remove: () => undefined };
const target = Object.assign(new EventTarget(), {
  visibilityState: "visible",
  createElement: () => frame,
  documentElement: { append: () => undefined },
});
for (const [name, value] of Object.entries({
  navigator: { locks, storage: {} },
  document: target,
  window: target,
})) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}

const IDLE: Status = {
  ready: false,
  lsn: 0,
  local: false,
  pending: 0,
  progress: null,
  download: null,
  connection: "none",
  connectionProblem: null,
  storage: { kind: "opfs", durable: true, reason: null, persisted: null, shortage: null },
  rejections: [],
};
const READY = { ...IDLE, ready: true };
const REPLAYING = { ...IDLE, progress: { done: 1, total: 3 } };

type StorageChange = Omit<Partial<Status["storage"]>, "reason"> & { code: string };

const stored = (status: Status, { code, ...change }: StorageChange): Status => ({
  ...status,
  storage: { ...status.storage, ...change, reason: { code, message: `it is ${code}` } },
});

/** A hub that says what it is told to. */
class Hub {
  static #last = 0;
  readonly #lock = `hub-${++Hub.#last}`;
  readonly asked: TabMessage[] = [];
  readonly port = {
    onmessage: (_: { data: HubMessage[] }) => undefined,
    postMessage: (messages: TabMessage[]) => this.asked.push(...messages),
    close: () => undefined,
  };
  #fail: (event: Event) => void = () => undefined;

  addEventListener(_: "error", fail: (event: Event) => void): void {
    this.#fail = fail;
  }

  says(message: HubMessage): void {
    this.port.onmessage({ data: [message] });
  }

  here(): void {
    this.says({ here: { lock: this.#lock } });
  }

  /** Reports an error, which Firefox shows to the tabs. */
  report(): void {
    this.#fail(Object.assign(new Event("error"), { message: "unreachable" }));
  }

  die(): void {
    page.get(this.#lock)?.();
  }
}

/** What a promise has come to. */
async function stateOf(promise: Promise<void>): Promise<string> {
  let state = "waiting";
  promise.then(
    () => {
      state = "open";
    },
    (error: { code: string }) => {
      state = error.code;
    },
  );
  await settled();
  return state;
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await null;
}

async function attach(context: TestContext, server: string | null = null) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const hubs: Hub[] = [];
  const attachment = new Attachment({
    definition: { name: "notes", migrations: [], mutators: {} },
    document: "a",
    server,
    auth: undefined,
    workers: {
      hub: () => {
        const hub = new Hub();
        hubs.push(hub);
        return hub as unknown as SharedWorker;
      },
      disk: () => assert.fail("no disk is needed"),
    },
    wasmUrl: null,
    memory: false,
    persist: false,
    takeServers: false,
  });
  context.after(() => attachment.abandon(new OffprintError("closed", "the test is over")));
  await attachment.start();
  await settled();
  const hub = hubs[0] as Hub;
  hub.here();
  return { attachment, hub, hubs, tick: (time: number) => context.mock.timers.tick(time) };
}

for (const [what, status] of [
  ["no room for what is being replayed", stored(REPLAYING, { code: "quota", shortage: "readOnly" })],
  ["no room for a moment", stored(IDLE, { code: "quota" })],
  [
    "no room, while the disk is handed over",
    stored(IDLE, { code: "quota", kind: "none", shortage: "readOnly" }),
  ],
  ["damage", stored(REPLAYING, { code: "corrupt" })],
  ["a disk that failed", stored(IDLE, { code: "disk" })],
  ["files that were taken away", stored(IDLE, { code: "disk", kind: "none" })],
  ["no better kind of disk", stored(IDLE, { code: "storage_unavailable", kind: "indexedDb" })],
  ["somebody who has the files", stored(IDLE, { code: "blocked", kind: "none" })],
  ["cleared data", stored(IDLE, { code: "storage_cleared", kind: "none" })],
  ["no disk any more for what was read", stored(REPLAYING, { code: "storage_unavailable", kind: "none" })],
] as const) {
  test(`an opening waits for a document that will be ready, and its status tells of ${what}`, async (context) => {
    const { attachment, hub } = await attach(context);
    hub.says({ status });
    assert.equal(await stateOf(attachment.opened), "waiting");
    assert.deepEqual(attachment.status.storage, status.storage);
    hub.says({ status: { ...status, ready: true, progress: null } });
    assert.equal(await stateOf(attachment.opened), "open");
    assert.equal(attachment.status.storage.reason?.code, status.storage.reason?.code);
  });
}

for (const [what, status] of [
  ["no room for its files", stored(IDLE, { code: "quota", kind: "none" })],
  ["no disk", stored(IDLE, { code: "storage_unavailable", kind: "none" })],
  ["files that cannot be read", stored(IDLE, { code: "corrupt" })],
  ["files of a newer version", stored(IDLE, { code: "superseded" })],
  ["a script that does not load", stored(IDLE, { code: "not_loaded", kind: "none" })],
] as const) {
  test(`an opening ends with ${what}`, async (context) => {
    const { attachment, hub } = await attach(context);
    hub.says({ status });
    assert.equal(await stateOf(attachment.opened), status.storage.reason?.code);
  });
}

test("a document that was open is not ended by what is said of its storage", async (context) => {
  const { attachment, hub } = await attach(context);
  hub.says({ status: READY });
  hub.says({ status: stored(IDLE, { code: "storage_unavailable", kind: "none" }) });
  assert.equal(await stateOf(attachment.opened), "open");
  assert.equal(attachment.closed, undefined);
});

test("a history of the device's own waits for the server's verdict on it", async (context) => {
  const { attachment, hub } = await attach(context, "ws://server");
  const local = { ...READY, local: true };
  for (const connection of ["none", "connecting"] as const) {
    hub.says({ status: { ...local, connection } });
    assert.equal(await stateOf(attachment.opened), "waiting");
  }
  hub.says({ status: { ...local, local: false, connection: "online" } });
  assert.equal(await stateOf(attachment.opened), "open");
});

for (const [what, change] of [
  ["the device has no room", { code: "quota", shortage: "reorganising" }],
  ["the disk fails", { code: "disk" }],
] as const) {
  test(`a history of the device's own opens as it is while the server cannot be asked, as ${what}`, async (context) => {
    const { attachment, hub } = await attach(context, "ws://server");
    hub.says({ status: stored({ ...READY, local: true }, change) });
    assert.equal(await stateOf(attachment.opened), "open");
    assert.deepEqual([attachment.status.local, attachment.status.storage.reason?.code], [true, change.code]);
  });
}

const TRAP = { code: "internal", message: "unreachable" };

/** Lets one hub after the other come and die, telling why if it can. */
async function die(hubs: Hub[], times: number, tick: (time: number) => void, trapped?: typeof TRAP) {
  for (let time = 0; time < times; time += 1) {
    const hub = hubs.at(-1) as Hub;
    hub.here();
    if (trapped) {
      hub.report();
      hub.says({ trapped });
    }
    const called = hubs.length;
    hub.die();
    await settled();
    for (let waited = 0; hubs.length === called && waited < 15_000; waited += 50) tick(50);
  }
}

for (const trapped of [TRAP, undefined]) {
  test(`an opening ends after several hubs in a row that died${trapped ? " and told why" : ""}`, async (context) => {
    const { attachment, hubs, tick } = await attach(context);
    await die(hubs, 4, tick, trapped);
    assert.equal(await stateOf(attachment.opened), "waiting");
    await die(hubs, 1, tick, trapped);
    assert.equal(await stateOf(attachment.opened), "internal");
    if (trapped) assert.match(attachment.closed?.message ?? "", /unreachable/);
    assert.equal(hubs.length, 5);
  });
}

test("a document that was open goes on calling hubs, and tells of it", async (context) => {
  const { attachment, hub, hubs, tick } = await attach(context);
  hub.says({ status: READY });
  await die(hubs, 1, tick, TRAP);
  assert.deepEqual(attachment.status, READY);
  await die(hubs, 7, tick, TRAP);
  assert.equal(attachment.closed, undefined);
  assert.equal(hubs.length, 9);
  assert.equal(attachment.status.storage.reason?.code, "internal");
  hubs.at(-1)?.here();
  hubs.at(-1)?.says({ status: READY });
  assert.deepEqual(attachment.status, READY);
});

const NOT_LOADED = { code: "not_loaded", message: "Offprint's module did not load" };

test("an opening ends with a hub whose module does not load", async (context) => {
  const { attachment, hub } = await attach(context);
  hub.says({ refused: NOT_LOADED });
  assert.equal(await stateOf(attachment.opened), "not_loaded");
});

test("a document that was open outlives a hub whose module does not load, with all that it was asked", async (context) => {
  const { attachment, hub, hubs, tick } = await attach(context);
  hub.says({ status: READY });
  const write = attachment.mutate("add", {});
  await die(hubs, 1, tick);
  const refused = hubs.at(-1) as Hub;
  refused.here();
  refused.says({ refused: NOT_LOADED });
  assert.deepEqual([attachment.closed, attachment.status.storage.reason], [undefined, NOT_LOADED]);
  const called = hubs.length;
  for (let waited = 0; hubs.length === called && waited < 15_000; waited += 50) tick(50);
  const next = hubs.at(-1) as Hub;
  assert.notEqual(next, refused);
  next.here();
  next.says({ status: READY });
  assert.deepEqual(attachment.status, READY);
  const asked = next.asked.flatMap((one) => (typeof one === "object" && "request" in one ? [one.no] : []));
  assert.deepEqual(asked, [1]);
  next.says({ durable: { requests: [1] } });
  await write;
});

test("a document that was open is ended by a hub that refuses it for another reason", async (context) => {
  const { attachment, hub } = await attach(context);
  hub.says({ status: READY });
  hub.says({ refused: { code: "definition_mismatch", message: "of a later version" } });
  assert.equal(attachment.closed?.code, "definition_mismatch");
});

for (const [what, event] of [
  ["comes online", "online"],
  ["is looked at again", "visibilitychange"],
] as const) {
  test(`the server is asked for a sign of life when the page ${what}, whatever the status says`, async (context) => {
    const { hub } = await attach(context, "ws://server");
    for (const [at, connection] of (["online", "offline"] as const).entries()) {
      hub.says({ status: { ...READY, connection } });
      target.dispatchEvent(new Event(event));
      await settled();
      const asked = hub.asked.flatMap((one) =>
        typeof one === "object" && "request" in one ? [one.request] : [],
      );
      assert.deepEqual(asked, Array(at + 1).fill("reconnect"));
    }
  });
}

test("without a server nobody is asked for a sign of life", async (context) => {
  const { hub } = await attach(context);
  hub.says({ status: READY });
  target.dispatchEvent(new Event("online"));
  await settled();
  assert.ok(!hub.asked.some((one) => typeof one === "object" && "request" in one));
});
