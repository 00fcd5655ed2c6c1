import type {
  Problem,
  Reply,
  Request,
  SqlValue,
  TabEvent,
  TabRequest,
} from "../../worker/src/rpc.generated.ts";
import { OffprintError, Rejected } from "./error.ts";
import { type Write, WriteStages } from "./write.ts";

type Question = { request: Request; answer: (reply: Reply) => void; fail: (error: OffprintError) => void };
type Mutation = { request: Request; write: WriteStages };

/**
 * What this tab has asked and is owed. A question is kept until it is answered, a mutation until it is confirmed or
 * rejected: a new hub is given all of them again, under the same numbers.
 */
export class Requests {
  readonly #send: (message: TabRequest) => void;
  #last = 0;
  // Numbers ascend, so the order of insertion is the order in which they were asked.
  readonly #questions = new Map<number, Question>();
  readonly #mutations = new Map<number, Mutation>();
  #quiet: (() => void) | undefined;

  constructor(send: (message: TabRequest) => void) {
    this.#send = send;
  }

  mutate(name: string, args: Record<string, SqlValue>): Write {
    return this.#write({ mutate: { name, args } });
  }

  retry(seq: number): Write {
    return this.#write({ retry: { seq } });
  }

  #write(request: Request): Write {
    const write = new WriteStages();
    this.#mutations.set(++this.#last, { request, write });
    this.#send({ no: this.#last, request });
    return write;
  }

  ask(request: Request): Promise<Reply> {
    return new Promise((answer, fail) => {
      this.#questions.set(++this.#last, { request, answer, fail });
      this.#send({ no: this.#last, request });
    });
  }

  /** Takes an answer; false for an event that answers no request. */
  take(event: TabEvent): boolean {
    if ("reply" in event) this.#replied(event.reply.no, event.reply.reply);
    else if ("failed" in event) this.#failed(event.failed.no, event.failed.problem);
    else if ("durable" in event) {
      for (const no of event.durable.requests) this.#mutations.get(no)?.write.reach("durable");
    } else if ("confirmed" in event) {
      for (const no of event.confirmed.requests) {
        this.#mutations.get(no)?.write.reach("confirmed");
        this.#mutations.delete(no);
      }
    } else if ("rejected" in event) {
      const { no, rejection } = event.rejected;
      this.#mutations.get(no)?.write.refuse(new Rejected(rejection));
      this.#mutations.delete(no);
    } else return false;
    this.#noticeQuiet();
    return true;
  }

  /** What a new hub is given, in the order it was asked; live queries are asked for anew by who keeps them. */
  unanswered(): TabRequest[] {
    for (const [no, { request }] of this.#questions) {
      if (typeof request === "object" && ("subscribe" in request || "unsubscribe" in request)) {
        this.#questions.delete(no);
      }
    }
    const all = [...this.#questions, ...this.#mutations].map(([no, { request }]) => ({ no, request }));
    return all.sort((a, b) => a.no - b.no);
  }

  /** Resolves when every mutation is durable or failed. */
  flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#quiet = resolve;
      this.#noticeQuiet();
    });
  }

  /** Fails everything that is still open. */
  close(error: OffprintError): void {
    for (const { fail } of this.#questions.values()) fail(error);
    for (const { write } of this.#mutations.values()) write.fail(error);
    this.#questions.clear();
    this.#mutations.clear();
    this.#noticeQuiet();
  }

  #noticeQuiet(): void {
    if (!this.#quiet) return;
    for (const { write } of this.#mutations.values()) if (!write.isDurable) return;
    this.#quiet();
    this.#quiet = undefined;
  }

  #replied(no: number, reply: Reply): void {
    this.#mutations.get(no)?.write.reach("applied");
    const question = this.#questions.get(no);
    this.#questions.delete(no);
    question?.answer(reply);
  }

  #failed(no: number, problem: Problem): void {
    const error = OffprintError.from(problem);
    this.#mutations.get(no)?.write.fail(error);
    this.#mutations.delete(no);
    const question = this.#questions.get(no);
    this.#questions.delete(no);
    question?.fail(error);
  }
}
