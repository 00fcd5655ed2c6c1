import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { HubMessage } from "./rpc.ts";
import type { TabPort } from "./tab-port.ts";
import { Tokens } from "./tokens.ts";

/** A tab with an app that makes tokens, and what it was asked. */
class Tab {
  readonly asks: number[] = [];
  readonly life = new AbortController();
  readonly hello: { auth: boolean };
  readonly awake: boolean;
  readonly visible: boolean;

  constructor({ auth = true, awake = true, visible = false } = {}) {
    this.hello = { auth };
    this.awake = awake;
    this.visible = visible;
  }

  post(message: HubMessage): void {
    if (typeof message === "object" && "askToken" in message) this.asks.push(message.askToken.ask);
  }
}

function setUp(context: TestContext, ...tabs: Tab[]) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const tokens = new Tokens(() => [...tabs] as unknown as TabPort[]);
  const leave = (tab: Tab) => {
    tab.life.abort();
    tabs.splice(tabs.indexOf(tab), 1);
  };
  return { tokens, leave, tick: (time: number) => context.mock.timers.tick(time) };
}

const settled = async () => {
  for (let turn = 0; turn < 10; turn += 1) await null;
};

test("a tab that goes while it is asked for a token is waited for no more, and the next one is asked", async (context) => {
  const [first, second] = [new Tab(), new Tab()];
  const { tokens, leave } = setUp(context, first, second);
  const token = tokens.ask();
  assert.deepEqual([first.asks, second.asks], [[1], []]);
  leave(first);
  await settled();
  assert.deepEqual([first.asks, second.asks], [[1], [2]]);
  tokens.give(1, "late");
  tokens.give(2, "good");
  assert.equal(await token, "good");
});

test("a tab that is awake is asked before one that is asleep, and of those one that is visible", async (context) => {
  const asleep = new Tab({ awake: false, visible: true });
  const [tokenless, hidden, visible] = [new Tab({ auth: false }), new Tab(), new Tab({ visible: true })];
  const { tokens, leave } = setUp(context, tokenless, asleep, hidden, visible);
  const token = tokens.ask();
  for (const [at, tab] of [visible, hidden, asleep].entries()) {
    assert.deepEqual(tab.asks, [at + 1]);
    leave(tab);
    await settled();
  }
  assert.equal(await token, "");
});

test("when the last tab that makes tokens goes, there is none", async (context) => {
  const tab = new Tab();
  const { tokens, leave } = setUp(context, tab);
  const token = tokens.ask();
  leave(tab);
  assert.equal(await token, "");
});

test("an app that takes too long gives no token, and one that says why is believed", async (context) => {
  const tab = new Tab();
  const { tokens, tick } = setUp(context, tab);
  const late = assert.rejects(tokens.ask(), { code: "unauthorized" });
  tick(20_000);
  await late;
  const refused = assert.rejects(tokens.ask(), { message: "logged out" });
  tokens.refuse(2, { code: "unauthorized", message: "logged out" });
  await refused;
});
