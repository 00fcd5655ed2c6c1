import { connect, createServer } from "node:net";

/** Stands between browsers and a server, and is what a network can be. */
export class Network {
  /** When each connection came in. */
  taken = [];
  /** How many connections it has cut in the middle. */
  cuts = 0;
  #server;
  #pairs = new Set();
  #mode = "pass";
  #length;

  static async to(port) {
    const network = new Network();
    network.#server = createServer((client) => network.#join(client, port));
    await new Promise((resolve) => network.#server.listen(0, "127.0.0.1", resolve));
    return network;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}`;
  }

  /** Lets new connections through. */
  pass() {
    this.#mode = "pass";
    this.#length = undefined;
  }

  /** Cuts each new connection after as many bytes as `length` gives; it is asked once for each direction. */
  cut(length) {
    this.#mode = "pass";
    this.#length = length;
  }

  /** Ends every connection, and each new one. */
  refuse() {
    this.#mode = "refuse";
    this.#end();
  }

  /** Ends every connection; new ones are taken, and nothing ever passes on them. */
  hang() {
    this.#mode = "swallow";
    this.#end();
  }

  /** Lets nothing pass any more on the connections there are, and closes none of them. */
  swallow() {
    for (const pair of this.#pairs) pair.swallows = true;
  }

  async close() {
    this.#end();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #end() {
    for (const { end } of this.#pairs) end();
  }

  #join(client, port) {
    this.taken.push(performance.now());
    if (this.#mode === "refuse") {
      client.destroy();
      return;
    }
    const server = connect(port, "127.0.0.1");
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    const pair = { end, swallows: this.#mode === "swallow" };
    this.#pairs.add(pair);
    this.#carry(client, server, pair);
    this.#carry(server, client, pair);
    client.on("close", end);
    server.on("close", () => {
      if (!pair.swallows) end();
    });
  }

  #carry(from, to, pair) {
    let left = this.#length?.() ?? Number.POSITIVE_INFINITY;
    from.setNoDelay(true);
    from.on("error", () => {});
    from.on("data", (bytes) => {
      if (pair.swallows) return;
      if (bytes.length < left) {
        left -= bytes.length;
        to.write(bytes);
        return;
      }
      this.cuts += 1;
      from.pause();
      to.write(bytes.subarray(0, left), pair.end);
    });
  }
}
