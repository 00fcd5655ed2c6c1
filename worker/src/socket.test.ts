import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Socket } from "./socket.ts";

/** A WebSocket that opens when it is told to. */
class FakeWebSocket {
  static readonly all: FakeWebSocket[] = [];
  onopen: (() => void) | null = null;

  constructor() {
    FakeWebSocket.all.push(this);
  }

  close(): void {}
}

function setUp(context: TestContext, token: Promise<string>) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  FakeWebSocket.all.length = 0;
  Object.defineProperty(globalThis, "WebSocket", { value: FakeWebSocket, configurable: true });
  const told: string[] = [];
  const socket = new Socket("ws://server/sync", token, {
    opened: (token) => told.push(`opened ${token}`),
    frame: () => assert.fail("no frame came"),
    closed: ({ code }) => told.push(`closed ${code}`),
  });
  return { socket, told, tick: (time: number) => context.mock.timers.tick(time) };
}

const settled = async () => {
  for (let turn = 0; turn < 10; turn += 1) await null;
};

test("nothing is connected before the token is there, which a server would not wait for", async (context) => {
  let give: (token: string) => void = () => undefined;
  const token = new Promise<string>((resolve) => {
    give = resolve;
  });
  const { told } = setUp(context, token);
  await settled();
  assert.equal(FakeWebSocket.all.length, 0);
  give("good");
  await settled();
  FakeWebSocket.all[0]?.onopen?.();
  assert.deepEqual(told, ["opened good"]);
});

test("without a token nothing is connected, and it is told why", async (context) => {
  const { told } = setUp(context, Promise.reject({ code: "unauthorized", message: "logged out" }));
  await settled();
  assert.deepEqual([told, FakeWebSocket.all.length], [["closed unauthorized"], 0]);
});

test("one that was closed meanwhile does not connect", async (context) => {
  const { socket, told } = setUp(context, Promise.resolve("good"));
  socket.close();
  await settled();
  assert.deepEqual([told, FakeWebSocket.all.length], [[], 0]);
});

test("a connection that does not open is given up", async (context) => {
  const { told, tick } = setUp(context, Promise.resolve(""));
  await settled();
  tick(30_000);
  assert.deepEqual(told, ["closed unreachable"]);
});
