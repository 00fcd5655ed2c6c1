import assert from "node:assert/strict";
import { join } from "node:path";
import { BoardPage } from "./board-page.mjs";
import { until } from "./poll.mjs";
import { Profile } from "./profile.mjs";
import { seed } from "./random.mjs";
import { Server } from "./server.mjs";
import { staticSite } from "./static-site.mjs";

const dist = process.env.OFFPRINT_DEMO ?? join(import.meta.dirname, "../../dist");

/** What one test has for itself: a site, a server and browser profiles, which all go when it ends. */
export class World {
  #profiles = [];

  /** Makes a world for this test and prints the seed of its random choices. */
  static async for(test, { serving = true } = {}) {
    const world = new World();
    test.after(async () => {
      if (!test.passed) test.diagnostic(await world.#account());
      await world.#end();
    });
    test.diagnostic(`seed ${seed}`);
    world.site = await staticSite(dist);
    world.server = await new Server(join(dist, "board.json")).start();
    if (!serving) await world.server.stop();
    return world;
  }

  /** The board's address; `debug` lets the test ask for rows. */
  get url() {
    return `${this.site.origin}/?board=team-42&debug&server=${encodeURIComponent(this.server.url)}`;
  }

  /** A browser with a profile of its own, started. */
  async profile() {
    const profile = new Profile();
    this.#profiles.push(profile);
    return await profile.start();
  }

  /** The board in a new tab of this profile, or of a new one. */
  async board(profile) {
    return await BoardPage.open(profile ?? (await this.profile()), this.url);
  }

  /** The document as the server has it: what a profile sees that has nothing of its own. */
  async primaryRows() {
    const profile = await this.profile();
    const board = await this.board(profile);
    await board.settled();
    const rows = await board.rows();
    await profile.remove();
    return rows;
  }

  /** Waits until these tabs have nothing pending and the same rows as the server, and resolves with them. */
  async converged(...boards) {
    for (const board of boards) await board.settled({ seconds: 60 });
    const rows = await until("all tabs have the same rows", async () => {
      const [first, ...others] = await Promise.all(boards.map((board) => board.rows()));
      return others.every((other) => JSON.stringify(other) === JSON.stringify(first))
        ? first
        : { not: [first, ...others] };
    });
    assert.deepEqual(await this.primaryRows(), rows);
    return rows;
  }

  /** How everything stands, for who reads of a failure. */
  async #account() {
    const pages = await Promise.all(this.#profiles.map((profile) => profile.account()));
    return [...pages, `server: ${this.server?.output.slice(-4000)}`].join("\n");
  }

  async #end() {
    const ends = [
      ...this.#profiles.map((profile) => profile.remove()),
      this.site?.close(),
      this.server?.remove(),
    ];
    const failed = (await Promise.allSettled(ends)).find(({ status }) => status === "rejected");
    if (failed) throw failed.reason;
  }
}
