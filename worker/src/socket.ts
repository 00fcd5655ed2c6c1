import type { Problem } from "./rpc.generated.ts";

export type SocketHandlers = {
  opened: (token: string) => void;
  frame: (bytes: Uint8Array) => void;
  closed: (problem: Problem) => void;
};

/** A connection that is not open after so many milliseconds is given up; browsers wait for minutes. */
const PATIENCE = 30_000;

const unreachable = (message: string): Problem => ({ code: "unreachable", message });

/** One connection with the server: opened once, ended once. */
export class Socket {
  readonly #handlers: SocketHandlers;
  readonly #url: string;
  #socket: WebSocket | undefined;
  #late: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  /** Connects once the token is there: a server waits for a greeting for less time than an app's `auth` may take. */
  constructor(url: string, token: Promise<string>, handlers: SocketHandlers) {
    this.#handlers = handlers;
    this.#url = url;
    // Later in any case, so that whoever asked for a socket has one when it fails at once.
    token.then(
      (token) => this.#open(token),
      (problem: Problem) => this.#end(problem),
    );
  }

  #open(token: string): void {
    if (this.#ended) return;
    let socket: WebSocket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) {
      this.#end(unreachable(error instanceof Error ? error.message : String(error)));
      return;
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    this.#late = setTimeout(() => this.#end(unreachable(`${this.#url} does not answer`)), PATIENCE);
    socket.onopen = () => {
      clearTimeout(this.#late);
      this.#handlers.opened(token);
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (data instanceof ArrayBuffer) this.#handlers.frame(new Uint8Array(data));
      else this.#end({ code: "bad_frame", message: "the server sent text; its frames are binary" });
    };
    socket.onclose = ({ code, reason }) => {
      this.#end(unreachable(`the connection with ${this.#url} ended (${code}${reason && `, ${reason}`})`));
    };
  }

  send(frame: Uint8Array<ArrayBuffer>): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(frame);
  }

  /** Ends it; nothing is told of it afterwards. */
  close(): void {
    this.#ended = true;
    clearTimeout(this.#late);
    if (!this.#socket) return;
    this.#socket.onopen = null;
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.close();
  }

  #end(problem: Problem): void {
    if (this.#ended) return;
    this.close();
    this.#handlers.closed(problem);
  }
}
