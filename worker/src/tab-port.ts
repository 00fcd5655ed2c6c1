import type { TabEvent } from "./rpc.generated.ts";
import type { Hello, HubMessage, TabMessage } from "./rpc.ts";

/** The hub's end of one tab: what the tab said of itself, and what is to be told to it in one message. */
export class TabPort {
  readonly port: MessagePort;
  readonly hello: Hello;
  /** Ends what watches this tab. */
  readonly life = new AbortController();
  visible: boolean;
  awake: boolean;
  #outbox: HubMessage[] = [];
  #transfer: Transferable[] = [];

  constructor(port: MessagePort, hello: Hello) {
    this.port = port;
    this.hello = hello;
    this.visible = hello.visible;
    this.awake = hello.awake;
  }

  get id(): string {
    return this.hello.tab;
  }

  /** Keeps an event until the burst it belongs to is over. */
  tell(event: TabEvent): void {
    this.#outbox.push(event);
    // Bytes were copied out of the core for this tab alone.
    if ("rows" in event) this.#transfer.push(event.rows.rows.buffer);
    else if ("reply" in event && typeof event.reply.reply === "object") {
      const { reply } = event.reply;
      if ("rows" in reply) this.#transfer.push(reply.rows.buffer);
      else if ("part" in reply) this.#transfer.push(reply.part.buffer);
    }
  }

  flush(): void {
    if (this.#outbox.length === 0) return;
    const [outbox, transfer] = [this.#outbox, this.#transfer];
    this.#outbox = [];
    this.#transfer = [];
    this.port.postMessage(outbox, transfer);
  }

  post(message: HubMessage): void {
    this.port.postMessage([message]);
  }

  close(): void {
    this.life.abort();
    this.port.onmessage = null;
    this.port.close();
  }
}

/** The tabs that somebody looks at come first. */
export const visibleFirst = (a: TabPort, b: TabPort): number => Number(b.visible) - Number(a.visible);

/** The tabs that answer come first: one that is asleep may not, however visible it was. */
export const awakeFirst = (a: TabPort, b: TabPort): number =>
  Number(b.awake) - Number(a.awake) || visibleFirst(a, b);

/** Whether this can be a tab's message at all; what is in a request is for the core to judge. */
export function isTabMessage(message: unknown): message is TabMessage {
  if (message === "bye") return true;
  if (typeof message !== "object" || message === null) return false;
  if ("request" in message)
    return "no" in message && Number.isSafeInteger(message.no) && Number(message.no) > 0;
  return true;
}
