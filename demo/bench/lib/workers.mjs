import { setTimeout as delay } from "node:timers/promises";
import { until } from "../../e2e/lib/poll.mjs";

/** The one document's hub. */
async function hubOf(browser) {
  const target = await until("there is one hub", () => {
    const hubs = browser.targets().filter((target) => target.type() === "shared_worker");
    return hubs.length === 1 ? hubs[0] : { not: hubs.length };
  });
  return target.worker();
}

/** The longest time, in ms, for which a document's hub took no message since `start`. */
export async function hubTurns(browser) {
  const hub = await hubOf(browser);
  await hub.evaluate(() => {
    const { port1, port2 } = new MessageChannel();
    let last = performance.now();
    self.longest = 0;
    port1.onmessage = () => {
      const now = performance.now();
      self.longest = Math.max(self.longest, now - last);
      last = now;
      port2.postMessage(0);
    };
    port2.postMessage(0);
  });
  return {
    start: () =>
      hub.evaluate(() => {
        self.longest = 0;
      }),
    longest: () => hub.evaluate(() => self.longest),
  };
}

/** The bytes of a document's hub: its module's memory, and what its JavaScript holds. */
export async function hubMemory(browser) {
  const { client } = await hubOf(browser);
  // Chromium 156 ends a worker whose objects are looked for while its module is still being compiled in the background.
  await delay(5000);
  const { result: prototype } = await client.send("Runtime.evaluate", {
    expression: "WebAssembly.Memory.prototype",
  });
  await client.send("HeapProfiler.collectGarbage");
  const { objects } = await client.send("Runtime.queryObjects", { prototypeObjectId: prototype.objectId });
  const { result } = await client.send("Runtime.callFunctionOn", {
    objectId: objects.objectId,
    functionDeclaration:
      "function () { return this.reduce((sum, { buffer }) => sum + buffer.byteLength, 0); }",
    returnByValue: true,
  });
  const { usedSize } = await client.send("Runtime.getHeapUsage");
  if (!(result.value > 0)) throw new Error("the hub has no module");
  return result.value + usedSize;
}

/** Counts what a page's disk writes from here on; `bytes` reads the count. */
export async function diskWrites(page) {
  const disk = page.workers().find((worker) => /disk/.test(worker.url()));
  if (!disk) throw new Error(`there is no disk among ${page.workers().map((worker) => worker.url())}`);
  await disk.evaluate(() => {
    const { write } = FileSystemSyncAccessHandle.prototype;
    self.written = 0;
    FileSystemSyncAccessHandle.prototype.write = function (bytes, options) {
      self.written += bytes.byteLength;
      return write.call(this, bytes, options);
    };
  });
  return { bytes: () => disk.evaluate(() => self.written) };
}
