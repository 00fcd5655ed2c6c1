/** Makes Offprint's workers, for pages whose bundler does not do it. */
export type WorkerFactory = {
  /** A SharedWorker of `offprint/hub.js`, of type module, with exactly this name. */
  hub: (name: string) => SharedWorker;
  /** A Worker of `offprint/disk.js`, of type module. */
  disk: () => Worker;
};

/** What to do when the workers do not load; bundlers differ, and none says so at build time. */
export const HOW_TO_LOAD =
  "with Vite add optimizeDeps: { exclude: ['offprint'] } to its configuration; without a bundler copy hub.js, disk.js " +
  "and offprint.wasm of this package to one folder of your site and give its URL as the option workerUrl";

/** Workers whose scripts bundlers find by these very expressions. */
const bundled: WorkerFactory = {
  hub: (name) => new SharedWorker(new URL("./hub.js", import.meta.url), { type: "module", name }),
  disk: () => new Worker(new URL("./disk.js", import.meta.url), { type: "module" }),
};

/** Workers from a folder that holds the scripts under their own names. */
function workersIn(folder: string | URL): WorkerFactory {
  const base = new URL(folder, location.href);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return {
    hub: (name) => new SharedWorker(new URL("hub.js", base), { type: "module", name }),
    disk: () => new Worker(new URL("disk.js", base), { type: "module" }),
  };
}

export type WorkerOptions = {
  /** The folder that holds hub.js, disk.js and offprint.wasm, for pages without a bundler. */
  workerUrl?: string | URL | undefined;
  /** Makes the workers, for bundlers that need it in the app's own code. */
  workerFactory?: WorkerFactory | undefined;
};

export function workersOf({ workerUrl, workerFactory }: WorkerOptions): WorkerFactory {
  if (workerFactory) return workerFactory;
  return workerUrl === undefined ? bundled : workersIn(workerUrl);
}
