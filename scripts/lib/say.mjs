/** A reason to stop that needs no stack trace: one sentence for the person at the terminal. */
export class Stop extends Error {}

/** One line about what a command is doing. */
export const say = (text) => process.stderr.write(`offprint: ${text}\n`);

/** Runs a command's main function; a `Stop` ends it with its sentence and exit code 1. */
export async function main(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}
