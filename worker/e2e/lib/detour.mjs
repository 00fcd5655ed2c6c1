import { connect, createServer } from "node:net";

/**
 * A way to the server that treats each answer to `GET /documents…` as `treat(request)` says: it gives how many bytes of
 * the answer pass before the connection is cut, or `{ hold }` bytes before the rest waits for `release()`.
 */
export class Detour {
  #server;
  #sockets = new Set();
  #held = [];
  #treat;
  /** The heads of the requests that were treated. */
  requests = [];

  static async start(port, treat) {
    const detour = new Detour();
    detour.#treat = treat;
    detour.#server = createServer((client) => detour.#pass(client, connect(port, "127.0.0.1")));
    await new Promise((resolve) => detour.#server.listen(0, "127.0.0.1", resolve));
    return detour;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}`;
  }

  release() {
    for (const go of this.#held.splice(0)) go();
  }

  async close() {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #pass(client, server) {
    let left = Number.POSITIVE_INFINITY;
    let holds = false;
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (bytes) => {
      const text = bytes.toString("latin1");
      if (text.startsWith("GET /documents")) {
        this.requests.push(text);
        const treatment = this.#treat(text);
        holds = typeof treatment === "object";
        left = holds ? treatment.hold : treatment;
      }
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      if (bytes.length < left) {
        left -= bytes.length;
        if (!client.write(bytes)) {
          server.pause();
          client.once("drain", () => server.resume());
        }
        return;
      }
      const first = bytes.subarray(0, left);
      if (!holds) {
        client.write(first, () => client.destroy());
        server.destroy();
        return;
      }
      client.write(first);
      server.pause();
      left = Number.POSITIVE_INFINITY;
      this.#held.push(() => {
        client.write(bytes.subarray(first.length));
        server.resume();
      });
    });
  }
}
