import assert from "node:assert/strict";
import { test } from "node:test";
import type { TabRequest } from "../../worker/src/rpc.generated.ts";
import { OffprintError } from "./error.ts";
import { Requests } from "./requests.ts";

function setUp() {
  const sent: TabRequest[] = [];
  return { sent, requests: new Requests((request) => sent.push(request)) };
}

const applied = (no: number) => ({ reply: { no, reply: { applied: { seq: no } } } });
const settled = async (promise: Promise<unknown>) =>
  Promise.race([promise.then(() => "yes"), new Promise((resolve) => setTimeout(() => resolve("no"), 5))]);

test("a write goes through its stages", async () => {
  const { requests } = setUp();
  const write = requests.mutate("add", { id: "1" });
  assert.equal(await settled(write.applied), "no");
  requests.take(applied(1));
  await write.applied;
  assert.equal(await settled(write.durable), "no");
  requests.take({ durable: { requests: [1] } });
  await write;
  assert.equal(await settled(write.confirmed), "no");
  requests.take({ confirmed: { requests: [1] } });
  await write.confirmed;
});

test("a new hub is told what is not answered, and mutations until they are confirmed, in order", () => {
  const { sent, requests } = setUp();
  requests.mutate("add", { id: "1" });
  requests.ask({ query: { sql: "SELECT 1", params: [] } });
  requests.mutate("add", { id: "2" });
  requests.ask("reconnect");
  assert.deepEqual(requests.unanswered(), sent);
  requests.take(applied(1));
  requests.take({ durable: { requests: [1] } });
  requests.take({ reply: { no: 4, reply: "done" } });
  assert.deepEqual(
    requests.unanswered().map(({ no }) => no),
    [1, 2, 3],
  );
  requests.take({ confirmed: { requests: [1] } });
  requests.take({
    rejected: {
      no: 3,
      rejection: { seq: 2, name: "add", args: { id: "2" }, code: "constraint", message: "no", lsn: 1 },
    },
  });
  assert.deepEqual(
    requests.unanswered().map(({ no }) => no),
    [2],
  );
  requests.mutate("add", { id: "3" });
  assert.equal(sent.at(-1)?.no, 5);
});

test("live queries are not among what is told again: their owner asks anew", () => {
  const { requests } = setUp();
  requests.ask({ subscribe: { subscription: 1, select: { sql: "SELECT 1", params: [] } } });
  requests.ask({ unsubscribe: { subscription: 1 } });
  assert.deepEqual(requests.unanswered(), []);
});

test("an answer that comes twice changes nothing", async () => {
  const { requests } = setUp();
  const write = requests.mutate("add", {});
  for (let time = 0; time < 2; time += 1) {
    requests.take(applied(1));
    requests.take({ confirmed: { requests: [1] } });
  }
  requests.take({ failed: { no: 1, problem: { code: "constraint", message: "late" } } });
  await write.confirmed;
});

test("a mutation that fails here rejects every stage; one that the server refuses only the last", async () => {
  const { requests } = setUp();
  const failed = requests.mutate("add", {});
  requests.take({ failed: { no: 1, problem: { code: "constraint", message: "UNIQUE" } } });
  for (const stage of [failed.applied, failed.durable, failed.confirmed]) {
    await assert.rejects(stage, { code: "constraint", message: "UNIQUE" });
  }
  const refused = requests.mutate("add", {});
  const args = { id: "7" };
  const rejection = { seq: 7, name: "add", args, code: "gone", message: "no such card", lsn: 3 };
  requests.take({ rejected: { no: 2, rejection } });
  await refused;
  const told = { name: "Rejected", code: "gone", seq: 7, mutator: "add", args, lsn: 3 };
  await assert.rejects(refused.confirmed, told);
});

test("a retry is a write, and is told again as it was", async () => {
  const { sent, requests } = setUp();
  const write = requests.retry(7);
  assert.deepEqual(sent, [{ no: 1, request: { retry: { seq: 7 } } }]);
  assert.deepEqual(requests.unanswered(), sent);
  requests.take(applied(1));
  requests.take({ durable: { requests: [1] } });
  await write;
  requests.take({ confirmed: { requests: [1] } });
  await write.confirmed;
  assert.deepEqual(requests.unanswered(), []);
});

test("a failure that nobody awaits is no unhandled rejection", async () => {
  const unhandled: unknown[] = [];
  const listener = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", listener);
  const { requests } = setUp();
  const write = requests.mutate("add", {});
  const { applied } = write;
  requests.take({ failed: { no: 1, problem: { code: "sql", message: "x" } } });
  void write.confirmed;
  void applied;
  await new Promise((resolve) => setTimeout(resolve, 10));
  process.off("unhandledRejection", listener);
  assert.deepEqual(unhandled, []);
});

test("closing settles everything that is open", async () => {
  const { requests } = setUp();
  const write = requests.mutate("add", {});
  const done = requests.mutate("add", {});
  const question = requests.ask("reconnect");
  requests.take(applied(1));
  requests.take({ durable: { requests: [2] } });
  const flushed = requests.flushed();
  assert.equal(await settled(flushed), "no");
  requests.close(new OffprintError("closed", "closed"));
  await write.applied;
  await assert.rejects(write.durable, { code: "closed" });
  await done.durable;
  await assert.rejects(done.confirmed, { code: "closed" });
  await assert.rejects(question, { code: "closed" });
  await flushed;
});

test("flushed waits for durable, not for confirmed", async () => {
  const { requests } = setUp();
  await requests.flushed();
  requests.mutate("add", {});
  const flushed = requests.flushed();
  requests.take({ durable: { requests: [1] } });
  await flushed;
});
