import { existsSync, readFileSync } from "node:fs";
import { writeWhole } from "./files.mjs";
import { inRoot } from "./paths.mjs";
import { start } from "./run.mjs";
import { Stop, say } from "./say.mjs";
import { step } from "./step.mjs";

const FILE = "worker/src/rpc.generated.ts";
const CARGO = ["run", "--quiet", "-p", "offprint-protocol", "--features", "ts", "--bin", "rpc-types"];
const INPUTS = ["crate/protocol", "Cargo.toml", "Cargo.lock", FILE];

/** The TypeScript of what tabs and hub say to each other, as crate/protocol defines it now. */
async function generate() {
  const { code, output, stdout } = await start("cargo", CARGO, { show: false }).done;
  if (code !== 0) throw new Stop(`the rpc types could not be generated:\n${output}`);
  return stdout;
}

const committed = () => (existsSync(inRoot(FILE)) ? readFileSync(inRoot(FILE), "utf8") : "");

/** crate/protocol → worker/src/rpc.generated.ts, which is kept in git so that a diff shows a changed protocol. */
export const buildRpcTypes = () =>
  step("rpc-types", { inputs: INPUTS, outputs: [FILE] }, async () => {
    const text = await generate();
    if (text === committed()) return;
    say(`writing ${FILE}`);
    writeWhole(inRoot(FILE), text);
  });

/** Fails when the file in the tree is not what crate/protocol says now. */
export async function checkRpcTypes() {
  if ((await generate()) !== committed())
    throw new Stop(`${FILE} is stale: run npm run build and commit it.`);
}
