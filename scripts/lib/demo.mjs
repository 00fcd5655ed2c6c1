import { writeWhole } from "./files.mjs";
import { inRoot } from "./paths.mjs";
import { npmBin, run, start } from "./run.mjs";
import { Stop } from "./say.mjs";

/** The demo's definition as the server reads it. */
export const boardDefinition = "demo/dist/board.json";

/** demo/src/board.ts → demo/dist/board.json, with the command that users of Offprint have. */
export async function buildDefinition() {
  const args = ["dist/definition-cli.js", "demo/src/board.ts"];
  const { code, output, stdout } = await start("node", args, { show: false }).done;
  if (code !== 0) throw new Stop(`\`node ${args.join(" ")}\` failed:\n${output}`);
  writeWhole(inRoot(boardDefinition), stdout);
}

/** The demo as it would be deployed, in demo/dist, with its definition beside it. */
export async function buildDemo() {
  await run(npmBin("vite"), ["build", "--logLevel", "warn"], { cwd: inRoot("demo") });
  await buildDefinition();
}
