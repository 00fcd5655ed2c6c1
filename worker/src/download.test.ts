import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Download } from "./download.ts";

const FILE = Uint8Array.from({ length: 10_000 }, (_, at) => at % 251);

type Asked = { from: number; authorization: string | null };

/** Each answer is a status and how many bytes of what was asked for come before the connection ends; or a lost one. */
type Answer = { status?: number; bytes?: number } | "lost";

/** Downloads the file from a server that gives these answers, one after the other; waits are skipped. */
async function download(answers: Answer[], token = async () => "") {
  const asked: Asked[] = [];
  const got: number[] = [];
  let ends = 0;
  const waits = mock.method(globalThis, "setTimeout", (ring: () => void, wait: number) =>
    // What guards against silence never rings.
    wait < 10_000 ? setImmediate(ring) : undefined,
  );
  const fetching = mock.method(globalThis, "fetch", async (_: string, { headers }: { headers: Headers }) => {
    const range = headers.get("range");
    const from = range ? Number(/^bytes=(\d+)-$/.exec(range)?.[1]) : 0;
    asked.push({ from, authorization: headers.get("authorization") });
    const answer = answers.shift();
    if (answer === undefined) throw new Error("it was asked once too often");
    if (answer === "lost") throw new TypeError("network error");
    const { status = from > 0 ? 206 : 200, bytes = FILE.length } = answer;
    const body = FILE.slice(status === 206 ? from : 0).slice(0, bytes);
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < body.length; at += 999) controller.enqueue(body.slice(at, at + 999));
        controller.close();
      },
    });
    return new Response(stream, { status });
  });
  try {
    const outcome = await new Promise<string>((resolve) => {
      new Download("http://server/file", FILE.length, token, {
        bytes: (bytes) => {
          got.push(...bytes);
          if (got.length >= FILE.length) setImmediate(() => resolve("whole"));
        },
        failed: (why) => {
          ends += 1;
          resolve(why);
        },
      });
    });
    return { outcome, asked, got, ends };
  } finally {
    waits.mock.restore();
    fetching.mock.restore();
  }
}

test("what is cut off goes on where it was, however often", async () => {
  const { outcome, asked, got } = await download([
    { bytes: 1 },
    "lost",
    { bytes: 5000 },
    { status: 503 },
    "lost",
    { bytes: 0 },
    { bytes: 1000 },
    {},
  ]);
  assert.equal(outcome, "whole");
  assert.deepEqual(
    asked.map(({ from }) => from),
    [0, 1, 1, 5001, 5001, 5001, 5001, 6001],
  );
  assert.deepEqual(got, [...FILE]);
});

test("a server without ranges sends all of it again, and nothing is told twice", async () => {
  const { outcome, got } = await download([{ bytes: 3000 }, { status: 200 }]);
  assert.equal(outcome, "whole");
  assert.deepEqual(got, [...FILE]);
});

test("each attempt has a token of its own, as the first may have expired", async () => {
  let last = 0;
  const { asked } = await download([{ bytes: 1 }, { status: 401 }, {}], async () => `token-${++last}`);
  assert.deepEqual(
    asked.map(({ authorization }) => authorization),
    ["Bearer token-1", "Bearer token-2", "Bearer token-3"],
  );
});

test("it ends where another attempt would not help, or several in a row have not", async () => {
  for (const answers of [[{ status: 410, bytes: 0 }], [{ bytes: 10 }, { status: 404, bytes: 0 }]]) {
    const { outcome, ends } = await download([...answers]);
    assert.match(outcome, /answered with 4/);
    assert.equal(ends, 1);
  }
  const { outcome, asked, ends } = await download(["lost", "lost", "lost", "lost"]);
  assert.deepEqual([outcome, asked.length, ends], ["network error", 4, 1]);
  const refused = await download([], () => Promise.reject({ code: "unauthorized", message: "no token" }));
  assert.deepEqual([refused.outcome, refused.asked], ["no token", []]);
});

test("nothing is told once it is closed", async () => {
  const told: string[] = [];
  const download = new Download("http://server/file", 10, async () => "", {
    bytes: () => told.push("bytes"),
    failed: () => told.push("failed"),
  });
  download.close();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(told, []);
});
