/** What the platform itself takes for the messages and the flushes under Offprint's operations. */
export class Floor {
  readonly #port: MessagePort;

  private constructor(port: MessagePort) {
    this.#port = port;
  }

  static async start(): Promise<Floor> {
    const { port } = new SharedWorker(new URL("./echo.js", import.meta.url), {
      type: "module",
      name: "floor",
    });
    port.start();
    const floor = new Floor(port);
    await floor.#ask({ hello: 1 });
    const disk = new Worker(new URL("./append.js", import.meta.url), { type: "module" });
    const { port1, port2 } = new MessageChannel();
    const ready = new Promise((resolve) => disk.addEventListener("message", resolve, { once: true }));
    disk.postMessage({ port: port1 }, [port1]);
    await ready;
    port.postMessage({ disk: port2 }, [port2]);
    return floor;
  }

  /** Tab → SharedWorker → tab, with a message like a mutation's. */
  async roundTrip(): Promise<void> {
    await this.#ask({ no: 1, request: { mutate: { name: "toggle", args: { id: "todo-000001" } } } });
  }

  /** Tab → SharedWorker → disk, append 256 B, flush, and back. */
  async append(): Promise<void> {
    await this.#ask({ bytes: new Uint8Array(256) });
  }

  /** A new SharedWorker's first answer. */
  static async boot(name: string): Promise<void> {
    const { port } = new SharedWorker(new URL("./echo.js", import.meta.url), { type: "module", name });
    port.start();
    await new Floor(port).#ask({ hello: 1 });
  }

  #ask(message: unknown): Promise<unknown> {
    return new Promise((resolve) => {
      this.#port.onmessage = ({ data }) => resolve(data);
      this.#port.postMessage(message);
    });
  }
}
