import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { inRoot, readJson } from "./paths.mjs";
import { run } from "./run.mjs";
import { Stop, say } from "./say.mjs";

const stamp = inRoot("node_modules", ".offprint-installed");

function checkNode() {
  const wanted = readJson(inRoot("package.json"))
    .engines.node.match(/(\d+)\.(\d+)/)
    .slice(1)
    .map(Number);
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > wanted[0] || (major === wanted[0] && minor >= wanted[1])) return;
  throw new Stop(
    `Node ${wanted.join(".")} or newer is needed; this is ${process.versions.node} (https://nodejs.org).`,
  );
}

/** Node's version and the npm packages of package-lock.json. */
export async function ensureNpm() {
  checkNode();
  const lock = createHash("sha256")
    .update(readFileSync(inRoot("package-lock.json")))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  // `ci` empties node_modules, which pulls it from under a running development server; it is for the first time only.
  const args = existsSync(inRoot("node_modules")) ? ["install", "--no-save"] : ["ci"];
  say(`installing the npm packages (npm ${args.join(" ")})`);
  await run(process.platform === "win32" ? "npm.cmd" : "npm", [
    ...args,
    "--no-audit",
    "--no-fund",
    "--loglevel=warn",
  ]);
  writeFileSync(stamp, lock);
}
