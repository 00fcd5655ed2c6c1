import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Reports } from "./reports.mjs";

const dist = new URL("../../../dist/", import.meta.url);
const inDist = (name) => fileURLToPath(new URL(name, dist));
const types = {
  ".js": "text/javascript",
  ".wasm": "application/wasm",
  ".html": "text/html",
  ".map": "application/json",
};

const page = (folder) => `<!doctype html><meta charset="utf-8"><title>worker/e2e</title><script type="module">
import * as offprint from "/${folder}/index.js";
const { defineDocument, sql } = offprint;
const definition = defineDocument({
  name: "notes",
  migrations: [sql\`CREATE TABLE note (id TEXT NOT NULL, tab TEXT NOT NULL)\`, "CREATE TABLE once (id TEXT PRIMARY KEY)"],
  mutators: {
    add: sql.mutator\`INSERT INTO note (id, tab) VALUES (:id, :tab)\`,
    once: sql.mutator\`INSERT INTO once (id) VALUES (:id)\`,
  },
});
const other = defineDocument({ ...definition, mutators: {} });
window.errors = [];
addEventListener("error", (event) => window.errors.push(event.message));
addEventListener("unhandledrejection", (event) => window.errors.push(String(event.reason)));
window.offprint = { ...offprint, definition, other };
</script>`;

// Browsers without a private file system, as the disk sees them.
const ABSENT = `navigator.storage.getDirectory = async () => { throw new DOMException("refused", "SecurityError"); };\n`;

// Browsers without any storage, as the hub sees them.
const NO_INDEXED_DB = `Object.defineProperty(self, "indexedDB", { value: {
  open: () => { throw new DOMException("refused", "SecurityError"); },
  databases: async () => { throw new DOMException("refused", "SecurityError"); },
} });\n`;

// A core that traps when it is told to, on a channel of that name.
const TRAP = `let trap = false;
new BroadcastChannel("trap").onmessage = () => { trap = true; };
const instantiate = WebAssembly.instantiateStreaming;
WebAssembly.instantiateStreaming = async (...from) => {
  const { module, instance: { exports } } = await instantiate(...from);
  const handle = (...inputs) => {
    if (trap) throw new WebAssembly.RuntimeError("unreachable");
    return exports.handle(...inputs);
  };
  return { module, instance: { exports: { ...exports, handle } } };
};\n`;

// A removal that is cut once the files are empty, and one that is cut before.
const CUT = `FileSystemDirectoryHandle.prototype.removeEntry = () => new Promise(() => {});
IDBFactory.prototype.deleteDatabase = () => ({});\n`;
const FAIL = `FileSystemSyncAccessHandle.prototype.truncate = () => { throw new Error("cut"); };
IDBObjectStore.prototype.delete = () => { throw new Error("cut"); };\n`;

// IndexedDB without room.
const FULL = `IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); };\n`;

// A database that is deleted between its being named and its being opened.
const DELETED = `const databases = indexedDB.databases.bind(indexedDB);
IDBFactory.prototype.databases = async () => [...(await databases()), { name: "offprint|deleted", version: 1 }];\n`;

// Documents are noted, and then their databases do not open, which is reported.
const STUCK = `const open = IDBFactory.prototype.open;
IDBFactory.prototype.open = function (name, ...rest) {
  if (!name.startsWith("offprint|")) return open.call(this, name, ...rest);
  fetch("report", { method: "POST", body: name + " " });
  return {};
};\n`;

// Tells on a channel of that name what is noted of documents.
const NOTED = `const put = IDBObjectStore.prototype.put;
const noted = new BroadcastChannel("noted");
IDBObjectStore.prototype.put = function (value, key) {
  if (value?.kind) noted.postMessage(value.pending);
  return put.call(this, value, key);
};\n`;

// What gives pages and workers the finer clock, and takes from them whatever other sites do not offer.
const ISOLATION = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

const PRELUDES = {
  "cut/disk.js": CUT,
  "fail/disk.js": FAIL,
  "full/disk.js": FULL,
  "deleted/disk.js": DELETED,
  "absent/disk.js": ABSENT,
  "nowhere/disk.js": ABSENT,
  "nowhere/hub.js": NO_INDEXED_DB,
  "blind/hub.js": NO_INDEXED_DB,
  "noted/hub.js": NOTED,
  "stuck/disk.js": ABSENT,
  "stuck/hub.js": STUCK,
  "trap/hub.js": TRAP,
  "doomed/hub.js": TRAP.replace("trap = false", "trap = true"),
};

const holder = `self.onmessage = async ({ data }) => {
  let directory = await navigator.storage.getDirectory();
  for (const name of ["offprint", data + ".offprint"]) directory = await directory.getDirectoryHandle(name, { create: true });
  const file = await directory.getFileHandle("lock", { create: true });
  self.handle = await file.createSyncAccessHandle();
  self.postMessage("held");
};`;

/** The tests that every kind of disk takes, as a worker. */
async function filesSuite() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("files-suite.mjs", import.meta.url))],
    bundle: true,
    write: false,
    format: "esm",
  });
  return outputFiles[0].text;
}

/** A React app in development mode, where StrictMode runs every effect twice. */
async function reactApp() {
  const contents = `
    import { StrictMode, createElement as h, useState } from "react";
    import { createRoot } from "react-dom/client";
    import { defineDocument, sql } from "offprint";
    import { useDocument, useQuery, useStatus } from "offprint/react";
    const definition = defineDocument({
      name: "notes",
      migrations: ["CREATE TABLE note (id TEXT PRIMARY KEY)"],
      mutators: { add: sql.mutator\`INSERT INTO note (id) VALUES (:id)\` },
    });
    function Notes({ doc, above }) {
      const rows = useQuery(doc, sql\`SELECT id FROM note WHERE id > \${above} ORDER BY id\`);
      const status = useStatus(doc);
      window.doc = doc;
      window.rows = rows;
      return h("p", null, status.ready ? (rows ?? []).map(({ id }) => id).join() : "");
    }
    function Part({ id, above, options }) {
      const { doc, error } = useDocument(definition, id, options);
      if (error) return h("p", null, error.code);
      return doc ? h(Notes, { doc, above }) : h("p", null, "opening");
    }
    function App() {
      const [shown, show] = useState({ ids: [], above: "", options: {}, attempt: 0 });
      window.show = show;
      const { ids, above, options, attempt } = shown;
      return ids.map((id, at) => h(Part, { key: attempt + " " + at, id, above, options }));
    }
    createRoot(document.body).render(h(StrictMode, null, h(App)));`;
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL("../../..", import.meta.url)) },
    bundle: true,
    write: false,
    format: "esm",
    define: { "process.env.NODE_ENV": '"development"' },
    alias: { "offprint/react": inDist("react.js"), offprint: inDist("index.js") },
  });
  return outputFiles[0].text;
}

/**
 * Serves dist/ without a bundler on a free port of the loopback, under several folders: `a` and `b` are two deploys of
 * the same files, `absent` has no private file system, `blind` no IndexedDB, `nowhere` neither, `trap` a core that
 * traps, `doomed` one that always does, `cut` and `fail` removals that do not end, `full` no room to note one,
 * `deleted` a database that is not there any more, `stuck` opens that do not end, `noted` tells what a hub notes,
 * `report` in each of them takes what a page wants to be known outside, `clear` in each of them has the browser clear
 * the site's data; `no-disk`, `no-hub` and `no-wasm` lack a file, `isolated` is cross-origin isolated, `react` is a
 * React app.
 */
export async function site() {
  const app = await reactApp();
  const suite = await filesSuite();
  const reports = new Reports();
  const withheld = new Map();
  const server = createServer((request, response) => {
    const [, folder, name = ""] = new URL(request.url, "http://site").pathname.split("/");
    const policies = folder === "isolated" ? ISOLATION : {};
    const send = (type, body) => response.writeHead(200, { "content-type": type, ...policies }).end(body);
    if (name === "" && folder === "react") {
      return send("text/html", '<!doctype html><body></body><script type="module" src="app.js"></script>');
    }
    if (name === "report") {
      reports.take(request, () => response.writeHead(204).end());
      return undefined;
    }
    if (name === "clear") {
      return response.writeHead(200, { "clear-site-data": '"storage"', "content-type": "text/plain" }).end();
    }
    if (name === "app.js") return send("text/javascript", app);
    if (name === "") return send("text/html", page(folder));
    if (name === "files-suite.js") return send("text/javascript", suite);
    if (name === "holder.js") return send("text/javascript", holder);
    const missing = { "no-disk": "disk.js", "no-hub": "hub.js", "no-wasm": "offprint.wasm" }[folder];
    if (withheld.has(name)) withheld.set(name, withheld.get(name) + 1);
    if (name === missing || withheld.has(name)) return response.writeHead(404).end();
    try {
      const body = readFileSync(new URL(name, dist));
      const prelude = PRELUDES[`${folder}/${name}`];
      send(types[extname(name)] ?? "text/plain", prelude ? prelude + body : body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    /** What pages have posted to `report` so far, a word each. */
    reports: () => reports.words,
    /** The files that are not there for now, in any folder, each with how often it was asked for. */
    withheld,
    url: (folder) => `http://127.0.0.1:${server.address().port}/${folder}/`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
