import { ask } from "../lib/run.mjs";

/** What each crate may know: ours, and what only it may. */
const ARROWS = {
  "offprint-protocol": [],
  "offprint-core": ["offprint-protocol"],
  "offprint-wasm": ["offprint-core", "offprint-protocol"],
  "offprint-server": ["offprint-core", "offprint-protocol"],
  "offprint-sim": ["offprint-core", "offprint-protocol"],
  // It measures the server's process from outside.
  "offprint-load": ["offprint-protocol"],
};
const ONLY = [
  [
    ["offprint-wasm"],
    /^(wasm-bindgen(-futures)?|js-sys|web-sys|serde-wasm-bindgen|console_error_panic_hook)$/,
  ],
  [["offprint-server"], /^(axum.*|hyper.*|tower.*|reqwest|rquickjs.*|jsonwebtoken)$/],
  [["offprint-server", "offprint-load"], /^(tokio.*|clap)$/],
];

/** The violations of the arrows between crates, in any kind of dependency. */
export function crateArrows() {
  const metadata = JSON.parse(ask("cargo", ["metadata", "--no-deps", "--format-version", "1"]) ?? "{}");
  if (!metadata.packages) return ["cargo metadata failed"];
  const wrong = [];
  for (const { name, dependencies, manifest_path } of metadata.packages) {
    const allowed = ARROWS[name];
    if (!allowed) wrong.push(`${manifest_path}: ${name} has no place in scripts/check/crates.mjs`);
    for (const dependency of dependencies) {
      if (dependency.name in ARROWS && !allowed?.includes(dependency.name)) {
        wrong.push(`${name} must not depend on ${dependency.name}`);
      }
      for (const [owners, names] of ONLY) {
        if (!owners.includes(name) && names.test(dependency.name)) {
          wrong.push(`${name} must not depend on ${dependency.name}: only ${owners.join(" and ")} may`);
        }
      }
    }
  }
  return wrong;
}
