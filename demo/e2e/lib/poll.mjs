import { setTimeout as delay } from "node:timers/promises";

/**
 * Resolves with the first answer of `ask` that is not false, null or undefined; asks from Node, because timers and frames of background tabs stall.
 * An answer `{ not: reason }` is asked again too, and its reason is told when time is up.
 */
export async function until(what, ask, { seconds = 90, everyMs = 40 } = {}) {
  const end = Date.now() + seconds * 1000;
  let last;
  for (;;) {
    try {
      last = await ask();
    } catch (error) {
      last = { not: error };
    }
    const wanting =
      last === false || last === null || last === undefined || (typeof last === "object" && "not" in last);
    if (!wanting) return last;
    if (Date.now() > end) {
      const reason = last && typeof last === "object" ? last.not : last;
      throw new Error(`${what}: not within ${seconds} s; last: ${reason?.stack ?? JSON.stringify(reason)}`);
    }
    await delay(everyMs);
  }
}

/** Settles with the promise, or rejects when it takes too long. */
export async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
