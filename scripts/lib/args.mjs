import { parseArgs } from "node:util";
import { Stop } from "./say.mjs";

/** The command's options; an unknown one ends it with a sentence. */
export function readArgs(options) {
  try {
    return parseArgs({ options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new Stop(error.message);
  }
}
