import { connect, createServer } from "node:net";

/** The clock that pages share with us: ms since 1970, finer than Date. */
export const clock = () => performance.timeOrigin + performance.now();

/** Stands between browser and server: counts bytes, notes when they came, and can hold back what goes up. */
export class Wiretap {
  up = 0;
  down = 0;
  /** When the first bytes since `mark` came down. */
  firstDown = undefined;
  #server;
  #clients = new Set();
  #held = false;

  static async to(port) {
    const tap = new Wiretap();
    tap.#server = createServer((client) => tap.#join(client, port));
    await new Promise((resolve) => tap.#server.listen(0, "127.0.0.1", resolve));
    return tap;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}`;
  }

  /** Starts counting anew. */
  mark() {
    this.up = 0;
    this.down = 0;
    this.firstDown = undefined;
  }

  hold() {
    this.#held = true;
    for (const client of this.#clients) client.pause();
  }

  release() {
    this.#held = false;
    for (const client of this.#clients) client.resume();
  }

  async close() {
    for (const client of this.#clients) client.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client, port) {
    const server = connect(port, "127.0.0.1");
    client.setNoDelay(true);
    server.setNoDelay(true);
    this.#clients.add(client);
    client.on("data", (bytes) => {
      this.up += bytes.length;
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      this.firstDown ??= clock();
      this.down += bytes.length;
      client.write(bytes);
    });
    const end = () => {
      this.#clients.delete(client);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on("close", end).on("error", end);
    if (this.#held) client.pause();
  }
}
