import assert from "node:assert/strict";
import { before, test } from "node:test";
import { OffprintError } from "./error.ts";
import { serverUrl } from "./server-url.ts";

before(() => {
  Object.assign(globalThis, { location: { href: "https://app.example.com/board?id=1#top" } });
});

test("a server's URL is one of a websocket, to which a path can be added", () => {
  for (const [given, expected] of [
    ["ws://127.0.0.1:8787", "ws://127.0.0.1:8787"],
    ["wss://example.com/", "wss://example.com"],
    ["https://example.com/offprint/", "wss://example.com/offprint"],
    [new URL("http://localhost:8787"), "ws://localhost:8787"],
    ["/offprint", "wss://app.example.com/offprint"],
  ] as const) {
    assert.equal(serverUrl(given), expected);
  }
});

test("what is none is a bad argument", () => {
  for (const bad of [
    "http://",
    "ftp://example.com",
    "ws://example.com/?x=1",
    "ws://example.com/?",
    "ws://example.com/#x",
    "ws://example.com/#",
    new URL("wss://example.com/?x=1"),
  ]) {
    assert.throws(
      () => serverUrl(bad),
      (error) => error instanceof OffprintError && error.code === "bad_argument",
      String(bad),
    );
  }
});
