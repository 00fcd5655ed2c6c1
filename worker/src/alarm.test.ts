import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Alarm } from "./alarm.ts";
import { now } from "./clock.ts";

function setUp(context: TestContext) {
  const rung: number[] = [];
  let heard: () => void = () => undefined;
  const alarm = new Alarm(() => {
    rung.push(now());
    heard();
  });
  context.after(() => alarm.end());
  const next = () =>
    new Promise<void>((resolve) => {
      heard = resolve;
    });
  return { rung, alarm, next };
}

test("a time that is past rings once, and never from within `set`", async (context) => {
  const { rung, alarm, next } = setUp(context);
  alarm.set(0);
  alarm.set(1);
  assert.equal(rung.length, 0);
  await next();
  alarm.set(now() + 20);
  await next();
  assert.equal(rung.length, 2);
});

test("it rings at its time and not before, and asking for the same time again does not put it off", async (context) => {
  const { rung, alarm, next } = setUp(context);
  const at = now() + 30;
  alarm.set(at);
  const again = setInterval(() => rung.length === 0 && alarm.set(at), 1);
  await next();
  clearInterval(again);
  assert.equal(rung.length, 1);
  assert.ok((rung[0] ?? 0) >= at);
});

test("a new time replaces the one before, also one that is past", async (context) => {
  const { rung, alarm, next } = setUp(context);
  alarm.set(0);
  alarm.set(now() + 60_000);
  alarm.set(now() + 10);
  alarm.clear();
  const at = now() + 40;
  alarm.set(at);
  await next();
  assert.equal(rung.length, 1);
  assert.ok((rung[0] ?? 0) >= at);
});
