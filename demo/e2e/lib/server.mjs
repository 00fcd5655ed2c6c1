import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until, within } from "./poll.mjs";

const program = process.env.OFFPRINT_SERVER ?? join(import.meta.dirname, "../../../target/release/offprint");

/** A real server process for one definition; its port and its data stay the same over restarts. */
export class Server {
  #folder = mkdtempSync(join(tmpdir(), "offprint-server-"));
  #definition;
  #options;
  #child;
  #port;
  #output = "";

  /** `options` are further ones of `offprint serve`. */
  constructor(definition, options = []) {
    this.#definition = definition;
    this.#options = options;
  }

  get port() {
    if (this.#port === undefined) throw new Error("the server was never started");
    return this.#port;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** What it has printed so far. */
  get output() {
    return this.#output;
  }

  async start() {
    // Below the ports that systems give out: while it is stopped nobody else is given its port.
    const ports = this.#port ? [this.#port] : Array.from({ length: 5 }, () => randomInt(20_000, 32_000));
    for (const port of ports) {
      if (!(await this.#listens(port))) continue;
      this.#port = port;
      return this;
    }
    throw new Error(`the server finds no port: ${this.#output}`);
  }

  /** Starts the process; false if the port is taken. */
  async #listens(port) {
    const printed = this.#output.length;
    const args = [
      "serve",
      this.#definition,
      "--data",
      this.#folder,
      "--listen",
      `127.0.0.1:${port}`,
      ...this.#options,
    ];
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text) => {
        this.#output += text;
      });
    child.once("error", (error) => {
      this.#output += `${error.message}\n`;
    });
    this.#child = child;
    let ended = false;
    child.once("close", () => {
      ended = true;
    });
    const said = () => this.#output.slice(printed);
    const listens = () => / on http:\/\/127\.0\.0\.1:\d+$/m.test(said());
    await until("the server listens", () => ended || listens() || { not: said() });
    if (ended && !/cannot listen on/.test(said())) throw new Error(`the server ended: ${said()}`);
    return !ended;
  }

  /** The one column of a query, as it has it. */
  async column(document, sql) {
    const { rows } = await this.#post(document, "query", { sql });
    return rows.flat();
  }

  /** Makes a mutation as a back end does. */
  async mutate(document, name, args) {
    await this.#post(document, "mutations", { client: "back end", name, args });
  }

  /** Ends it at once: nothing gets to run any more. */
  kill() {
    return this.#end("SIGKILL");
  }

  /** Asks it to end. */
  stop() {
    return this.#end("SIGTERM");
  }

  async remove() {
    if (this.#child) await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #post(document, what, body) {
    const answer = await fetch(`http://127.0.0.1:${this.port}/documents/${document}/${what}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${JSON.stringify(body)}: ${await answer.text()}`);
    return answer.json();
  }

  async #end(signal) {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await within(60, "the server ends", gone);
  }
}
