import { problem } from "./problem.ts";
import type { Definition, Problem } from "./rpc.generated.ts";
import type { Hello } from "./rpc.ts";
import { RPC } from "./rpc-version.ts";

/** Two definitions with the same text are the same, whatever the order in which mutators were written. */
function textOf({ name, migrations, mutators }: Definition): string {
  const sorted = Object.entries(mutators).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([name, migrations, sorted.map(([key, { sql }]) => [key, sql])]);
}

/** Why a hub that serves `first` does not serve `hello`, if so. */
export function refusal(hello: Hello, first: Hello | undefined): Problem | undefined {
  const [lowest, highest] = hello.rpc;
  if (lowest > RPC || highest < RPC) {
    return problem("unsupported_version", `the hub speaks RPC ${RPC}, the tab ${lowest} to ${highest}`);
  }
  if (!first) return undefined;
  if (hello.document !== first.document) {
    return problem("bad_state", `the hub serves document ${first.document}`);
  }
  if (textOf(hello.definition) !== textOf(first.definition)) {
    const which = `document ${hello.document} is open with another definition of ${first.definition.name}`;
    return problem("definition_mismatch", `${which}; close the tabs of the older version`);
  }
  if (hello.server !== first.server) {
    return problem("bad_state", `document ${hello.document} is open with server ${first.server ?? "none"}`);
  }
  return undefined;
}
