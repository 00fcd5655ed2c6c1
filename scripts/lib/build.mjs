import { setup } from "./setup.mjs";

/** crate/wasm, worker/ and js/ → dist/. */
export async function build() {
  await setup("build");
  // These load npm packages, which are there only after setup.
  const { buildRpcTypes } = await import("./rpc-types.mjs");
  const { buildWasm } = await import("./wasm.mjs");
  const { bundle } = await import("./bundle.mjs");
  await buildRpcTypes();
  await buildWasm();
  await bundle();
}
