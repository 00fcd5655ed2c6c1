import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server } from "../../../demo/e2e/lib/server.mjs";
import { writeDefinition } from "./definition.mjs";
import { Network } from "./network.mjs";
import { open, says } from "./notes.mjs";
import { Tabs } from "./tabs.mjs";

/** A server, a profile's tabs, and between them a network of each test's own. */
export class Reach {
  #folder = mkdtempSync(join(tmpdir(), "offprint-reach-"));
  #server;

  static async start() {
    const reach = new Reach();
    reach.#server = await new Server(writeDefinition(reach.#folder)).start();
    reach.tabs = await Tabs.start();
    return reach;
  }

  /** Begins a test. */
  async begin() {
    this.network = await Network.to(this.#server.port);
  }

  /** A tab with a new document, online. */
  async opened() {
    const page = await this.tabs.tab();
    assert.equal(await open(page, this.tabs.fresh(), { server: this.network.url }), "open");
    await says(page, { connection: "online" });
    return page;
  }

  /** Ends a test. */
  async clear() {
    await this.tabs.closeTabs();
    await this.network.close();
  }

  async end() {
    await this.tabs?.end();
    await this.#server?.remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
