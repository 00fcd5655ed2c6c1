import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { DiskLink } from "./disk-link.ts";
import type { Problem } from "./rpc.generated.ts";
import type { FromDisk, HubMessage } from "./rpc.ts";
import type { TabPort } from "./tab-port.ts";

const NOT_LOADED = { code: "not_loaded", message: "its script was not found" };

/** Nobody dies here. */
const locks = { request: () => new Promise(() => undefined) };
Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });

/** A tab that is asked for disks, and what it was asked. */
class Tab {
  readonly loans: number[] = [];

  post(message: HubMessage): void {
    if (typeof message === "object" && "lend" in message) this.loans.push(message.lend.loan);
  }

  get asPort(): TabPort {
    return this as unknown as TabPort;
  }
}

/** The hub's end of a disk. */
class Port {
  onmessage: ((event: { data: FromDisk }) => void) | null = null;
  postMessage(): void {}

  get asPort(): MessagePort {
    return this as unknown as MessagePort;
  }
}

function setUp(context: TestContext, ...tabs: Tab[]) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const lost: (Problem | null)[] = [];
  let ready = 0;
  const link = new DiskLink("a", "hub", {
    lenders: () => tabs.map((tab) => tab.asPort),
    mark: async () => undefined,
    ready: () => {
      ready += 1;
    },
    answer: () => assert.fail("nothing was given"),
    lost: (why) => lost.push(why),
    failed: (why) => assert.fail(why.message),
    absent: (why) => assert.fail(why.message),
  });
  context.after(() => link.end());
  /** The tab lends a disk that comes to be ready. */
  const lend = async (tab: Tab) => {
    const port = new Port();
    link.lent(tab.asPort, tab.loans.at(-1) ?? 0, port.asPort);
    port.onmessage?.({ data: { here: { lock: "disk" } } });
    port.onmessage?.({ data: { ready: { empty: false } } });
    await null;
    await null;
  };
  const cannot = (tab: Tab) => link.notLent(tab.asPort, tab.loans.at(-1) ?? 0, NOT_LOADED);
  /** The tab is gone. */
  const leave = (tab: Tab) => {
    tabs.splice(tabs.indexOf(tab), 1);
    link.withoutTab(tab.asPort);
  };
  /** How long it is until the tab is asked once more. */
  const waited = (tab: Tab) => {
    const asked = tab.loans.length;
    let time = 0;
    for (; tab.loans.length === asked && time < 60_000; time += 50) context.mock.timers.tick(50);
    return time;
  };
  return { link, lost, lend, cannot, leave, waited, ready: () => ready };
}

test("a tab whose disk did not start is asked again when it alone is left, and what it lends then is used", async (context) => {
  const [first, second] = [new Tab(), new Tab()];
  const { link, lost, lend, cannot, leave, waited, ready } = setUp(context, first, second);
  link.want();
  await lend(first);
  leave(first);
  assert.deepEqual(second.loans, [2]);
  cannot(second);
  assert.deepEqual(lost, [null, NOT_LOADED]);
  assert.equal(waited(second), 250);
  await lend(second);
  assert.equal(ready(), 2);
});

test("one that could not before is asked again once the tab that could is gone", async (context) => {
  const [first, second] = [new Tab(), new Tab()];
  const { link, lost, lend, cannot, leave, waited } = setUp(context, first, second);
  link.want();
  cannot(first);
  assert.deepEqual(lost, [null]);
  await lend(second);
  assert.equal(waited(first), 60_000);
  leave(second);
  assert.equal(waited(first), 250);
});

test("while nobody can, the waits grow up to half a minute, and are short again after a disk that was ready", async (context) => {
  const tab = new Tab();
  const { link, lend, cannot, waited } = setUp(context, tab);
  link.want();
  const waits: number[] = [];
  for (let time = 0; time < 9; time += 1) {
    cannot(tab);
    waits.push(waited(tab));
  }
  assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  await lend(tab);
  cannot(tab);
  assert.equal(waited(tab), 250);
});

test("a tab that is looked at again is asked at once", (context) => {
  const tab = new Tab();
  const { link, cannot } = setUp(context, tab);
  link.want();
  cannot(tab);
  link.trust(tab.asPort);
  assert.deepEqual(tab.loans, [1, 2]);
  link.trust(tab.asPort);
  assert.deepEqual(tab.loans, [1, 2]);
});
