// npm start: the demo, its server, and a line with the address.
import { build } from "./lib/build.mjs";
import { boardDefinition, buildDefinition } from "./lib/demo.mjs";
import { inRoot } from "./lib/paths.mjs";
import { freePort, listening } from "./lib/port.mjs";
import { buildServer } from "./lib/programs.mjs";
import { npmBin, start } from "./lib/run.mjs";
import { main, Stop, say } from "./lib/say.mjs";

/** The next line that the person at the terminal types. */
const enter = () => new Promise((resolve) => process.stdin.resume().once("data", resolve));

/** Fails with what ended by itself. */
const lasting = ({ done }, name) =>
  done.then(({ code }) => {
    throw new Stop(`${name} ended with exit code ${code}`);
  });

await main(async () => {
  await build();
  say("building the server");
  const program = await buildServer("release");
  await buildDefinition();

  const serverPort = await freePort(8787);
  const pagePort = await freePort(5173);
  const serve = ["serve", boardDefinition, "--data", "data", "--listen", `127.0.0.1:${serverPort}`];
  const vite = ["--host", "127.0.0.1", "--port", String(pagePort), "--strictPort", "--logLevel", "warn"];
  const env = { VITE_OFFPRINT_SERVER: `ws://127.0.0.1:${serverPort}` };
  const asked = new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => resolve("asked"));
  });
  let server = start(program, serve);
  const page = start(npmBin("vite"), vite, { cwd: inRoot("demo"), env });
  try {
    const pageEnds = lasting(page, "Vite");
    const ready = Promise.all([listening(serverPort), listening(pagePort)]);
    if ((await Promise.race([ready, asked, pageEnds, lasting(server, "the server")])) === "asked") return 0;
    say(`the demo is at http://127.0.0.1:${pagePort}/ – open it in two tabs; Ctrl-C ends it`);
    while ((await Promise.race([asked, pageEnds, server.done])) !== "asked") {
      say("the server has ended; the demo goes on without it. Enter starts it again");
      if ((await Promise.race([asked, pageEnds, enter()])) === "asked") break;
      server = start(program, serve);
    }
    return 0;
  } finally {
    process.stdin.pause();
    for (const { child } of [server, page]) child.kill("SIGTERM");
    await Promise.all([server.done, page.done]);
  }
});
