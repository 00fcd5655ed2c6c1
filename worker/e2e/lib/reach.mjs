import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { Server } from "../../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./definition.mjs";
import { Network } from "./network.mjs";
import { open, says } from "./notes.mjs";
import { Tabs } from "./tabs.mjs";

/**
 * A server, a profile's tabs, and between them a network of each test's own. Made in a suite's body, it comes and goes
 * with that.
 */
export class Reach {
  #folder = mkdtempSync(join(tmpdir(), "offprint-reach-"));
  #server;

  constructor() {
    before(async () => {
      this.#server = await new Server(writeDefinition(this.#folder)).start();
      this.tabs = await Tabs.start();
    });
    beforeEach(async () => {
      this.network = await Network.to(this.#server.port);
    });
    afterEach(async () => {
      await this.tabs.closeTabs();
      await this.network.close();
    });
    after(async () => {
      await this.tabs?.end();
      await this.#server?.remove();
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  /** A tab with a new document, online. */
  async opened() {
    const page = await this.tabs.tab();
    assert.equal(await open(page, this.tabs.fresh(), { server: this.network.url }), "open");
    await says(page, { connection: "online" });
    return page;
  }
}
