import { readFileSync } from "node:fs";
import { dirname, join } from "node:path/posix";
import { filesUnder } from "../lib/files.mjs";
import { inRoot } from "../lib/paths.mjs";

const RPC_TYPES = ["worker/src/rpc.generated.ts", "worker/src/rpc.ts"];
const RPC_VERSION = "worker/src/rpc-version.ts";
const isTest = (path) => /\.test\.tsx?$/.test(path);

/** For each folder: which file or package another may be taken from. `types` says that only types are. */
const RULES = {
  "demo/src": ({ file, name }) => (file ? file.startsWith("demo/") : !name.startsWith("node:")),
  "js/src": ({ file, name, types, from }) => {
    if (file)
      return file.startsWith("js/src/") || file === RPC_VERSION || (RPC_TYPES.includes(file) && types);
    if (name.startsWith("node:")) return isTest(from) || from === "js/src/definition-cli.ts";
    return name.split("/")[0] === "react" ? /react/.test(from) : from === "js/src/definition-cli.ts";
  },
  "worker/src": ({ file, name, from }) =>
    file
      ? file.startsWith("worker/src/") || file.startsWith("crate/wasm/pkg/")
      : isTest(from) && name.startsWith("node:"),
};

const IMPORT =
  /\b(?:import|export)\s+(type\b)?[^;"'()]*?\bfrom\s*["']([^"']+)["']|(?<!["'.])\bimport\s*\(?\s*["']([^"']+)["']/g;

/** The violations of demo → js → worker (rpc only), and of who may use Node or a package. */
export function tsArrows() {
  const wrong = [];
  for (const [folder, allows] of Object.entries(RULES)) {
    for (const from of filesUnder(folder).filter((path) => /\.tsx?$/.test(path))) {
      const text = readFileSync(inRoot(from), "utf8").replace(/^\s*(\/\/|\*|\/\*).*$/gm, "");
      for (const [, type, named, bare] of text.matchAll(IMPORT)) {
        const name = named ?? bare;
        const file = name.startsWith(".") ? join(dirname(from), name) : undefined;
        if (!allows({ file, name, from, types: type !== undefined }))
          wrong.push(`${from}: must not import ${name}`);
      }
    }
  }
  return wrong;
}
