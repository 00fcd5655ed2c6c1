import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Stop, say } from "./say.mjs";

const host = "127.0.0.1";

const isFree = (port) =>
  new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, host, () => probe.close(() => resolve(true)));
  });

/** This port, or the next free one when it is taken. */
export async function freePort(wanted) {
  for (let port = wanted; port < wanted + 20; port += 1) {
    if (!(await isFree(port))) continue;
    if (port !== wanted) say(`port ${wanted} is taken, using ${port}`);
    return port;
  }
  throw new Stop(`the ports ${wanted} to ${wanted + 19} are all taken.`);
}

const answers = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, host);
    socket.once("connect", () => socket.end(() => resolve(true)));
    socket.once("error", () => resolve(false));
  });

/** Resolves when something listens on the port. */
export async function listening(port, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  while (!(await answers(port))) {
    if (Date.now() > end) throw new Stop(`nothing listens on port ${port} after ${seconds} s.`);
    await delay(50);
  }
}
