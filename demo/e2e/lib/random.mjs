import { randomInt } from "node:crypto";

/** The seed of this run: OFFPRINT_SEED, or a new one. */
export const seed = Number(process.env.OFFPRINT_SEED ?? randomInt(2 ** 31));

/** Numbers that a seed fixes (mulberry32). */
export function random(from) {
  let state = from >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    below: (limit) => Math.floor(next() * limit),
    chance: (probability) => next() < probability,
    of: (list) => list[Math.floor(next() * list.length)],
  };
}
