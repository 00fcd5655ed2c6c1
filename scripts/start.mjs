// npm start: the demo, its server, and a line with the address.
import { build } from "./lib/build.mjs";
import { boardDefinition, buildDefinition } from "./lib/demo.mjs";
import { inRoot } from "./lib/paths.mjs";
import { freePort, listening } from "./lib/port.mjs";
import { npmBin, start } from "./lib/run.mjs";
import { main, say } from "./lib/say.mjs";
import { buildServer, serverProgram } from "./lib/server.mjs";

/** Resolves with 0 when the person at the terminal asks to stop, and with 1 when a process ends by itself. */
async function untilEnd(processes) {
  const asked = new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => resolve(undefined));
  });
  const ended = processes.map(({ name, done }) =>
    done.then(({ code }) => `${name} ended with exit code ${code}`),
  );
  const early = await Promise.race([asked, ...ended]);
  if (early) say(early);
  return early ? 1 : 0;
}

await main(async () => {
  await build();
  say("building the server");
  await buildServer();
  await buildDefinition();

  const serverPort = await freePort(8787);
  const pagePort = await freePort(5173);
  const processes = [];
  try {
    const serve = ["serve", boardDefinition, "--data", "data", "--listen", `127.0.0.1:${serverPort}`];
    processes.push({ name: "the server", ...start(serverProgram, serve) });
    const vite = ["--host", "127.0.0.1", "--port", String(pagePort), "--strictPort", "--logLevel", "warn"];
    const env = { VITE_OFFPRINT_SERVER: `ws://127.0.0.1:${serverPort}` };
    processes.push({ name: "Vite", ...start(npmBin("vite"), vite, { cwd: inRoot("demo"), env }) });
    const end = untilEnd(processes);
    const ready = Promise.all([listening(serverPort), listening(pagePort)]).then(() => {
      say(`the demo is at http://127.0.0.1:${pagePort}/ – open it in two tabs; Ctrl-C ends it`);
      return end;
    });
    return await Promise.race([ready, end]);
  } finally {
    for (const { child } of processes) child.kill("SIGTERM");
    await Promise.all(processes.map(({ done }) => done));
  }
});
