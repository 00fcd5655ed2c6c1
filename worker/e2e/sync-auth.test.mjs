// A server that asks for tokens, and an app that gives them, late, or not at all.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { until } from "../../demo/e2e/lib/poll.mjs";
import { browserName } from "../../demo/e2e/lib/profile.mjs";
import { Server } from "../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./lib/definition.mjs";
import { add, evaluate, open, says } from "./lib/notes.mjs";
import { Tabs } from "./lib/tabs.mjs";
import { SECRET, token } from "./lib/token.mjs";

/** By how much clocks may differ, in seconds: a token is good for so much longer than it says. */
const LEEWAY = 30;
const now = () => Date.now() / 1000;

describe(`a server that asks for tokens, in ${browserName}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "offprint-auth-"));
  let tabs;
  let server;

  before(async () => {
    const secret = join(folder, "secret");
    writeFileSync(secret, SECRET);
    server = await new Server(writeDefinition(folder), ["--auth", `hs256=${secret}`]).start();
    tabs = await Tabs.start();
  });
  afterEach(() => tabs.closeTabs());
  after(async () => {
    await tabs?.end();
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A tab whose app gives this token, or throws if it is empty. */
  async function tab(token) {
    const page = await tabs.tab();
    await evaluate(
      page,
      (token) => {
        window.token = token;
        window.auth = async () => {
          if (window.token === "") throw new Error("logged out");
          return window.token;
        };
      },
      token,
    );
    return page;
  }

  const opened = async (page, id) =>
    assert.equal(await open(page, id, { server: server.url, auth: true }), "open");
  const problems = (page) =>
    evaluate(page, () =>
      window.statuses.flatMap(({ connectionProblem: problem }) => (problem ? [problem.code] : [])),
    );
  /** The app has a good token now; what waits for it is confirmed. */
  async function logsIn(page) {
    await evaluate(
      page,
      (token) => {
        window.token = token;
        return window.doc.reconnect();
      },
      token(now() + 3600),
    );
    await says(page, { connection: "online", connectionProblem: null, pending: 0 });
  }

  test("sync: writes are confirmed to an app that gives a token", async () => {
    const page = await tab(token(now() + 3600));
    await opened(page, tabs.fresh());
    await add(page, "mine", "confirmed");
    assert.deepEqual(await problems(page), []);
  });

  test("sync: when a token ends the app is asked for another, and writes go on being confirmed", async () => {
    const page = await tabs.tab();
    // One ends each second; the page gives the first that is good for two more.
    const began = now();
    const all = Array.from({ length: 120 }, (_, second) => {
      const ends = began + second;
      return { ends, token: token(ends - LEEWAY) };
    });
    await evaluate(
      page,
      (all) => {
        window.asked = 0;
        window.auth = () => {
          window.asked += 1;
          return all.find(({ ends }) => ends > Date.now() / 1000 + 2).token;
        };
      },
      all,
    );
    await opened(page, tabs.fresh());
    const asked = () => evaluate(page, () => window.asked);
    for (const note of ["first", "second", "third"]) {
      await add(page, note, "confirmed");
      const before = await asked();
      await until("the app is asked for another token", async () => (await asked()) > before);
    }
    await add(page, "last", "confirmed");
  });

  test("sync: an app that has no token is told so, and what it wrote is confirmed once it has one", async () => {
    const page = await tab("");
    await opened(page, tabs.fresh());
    await until("it is told", async () => (await problems(page)).includes("unauthorized"));
    const problem = await evaluate(page, () => window.doc.status.connectionProblem);
    assert.match(problem.message, /logged out/);
    await add(page, "mine", "durable");
    await says(page, { pending: 1 });
    await logsIn(page);
  });

  test("sync: a token that the server does not take is told, and the next one is taken", async () => {
    const page = await tab(`${token(now() + 3600)}x`);
    await opened(page, tabs.fresh());
    await until("it is told", async () => (await problems(page)).includes("unauthorized"));
    await add(page, "mine", "durable");
    await logsIn(page);
  });

  test("sync: a tab that closes before it has given a token is not waited for", async () => {
    const id = tabs.fresh();
    const silent = await tabs.tab();
    await evaluate(silent, () => {
      window.asked = new Promise((resolve) => {
        window.auth = () => new Promise(() => resolve());
      });
    });
    await opened(silent, id);
    await evaluate(silent, () => window.asked);
    const page = await tab(token(now() + 3600));
    await opened(page, id);
    await silent.close();
    await add(page, "mine", "confirmed");
    // An ask that ends by itself, after its 20 s, is told as a problem.
    assert.deepEqual(await problems(page), []);
  });
});
