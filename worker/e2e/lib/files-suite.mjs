// Runs in a dedicated worker: what every kind of disk has to do, the same for all.
import { DocumentDisk } from "../../src/document-disk.ts";
import { DocumentFiles } from "../../src/document-files.ts";
import { carryOut } from "../../src/files.ts";
import { IndexedDbFiles } from "../../src/indexed-db-files.ts";
import { LocalDisk } from "../../src/local-disk.ts";
import { MemoryFiles } from "../../src/memory-files.ts";

const FILES = ["head", "log-0", "log-1", "base-0", "base-1", "aside"];
const signal = new AbortController().signal;
const memories = new Map();

/** Memory outlives a close here, as the other kinds do, so that all take the same tests. */
class KeptMemory extends MemoryFiles {
  close() {}
}

const kinds = {
  opfs: (document) => DocumentFiles.open(document, { signal, held: () => undefined }),
  indexedDb: (document) => IndexedDbFiles.open(document, () => undefined),
  memory: (document) => {
    if (!memories.has(document)) memories.set(document, new KeptMemory());
    return memories.get(document);
  },
};

function equal(actual, expected, what) {
  const text = (value) => JSON.stringify(value, (_, v) => (v instanceof Uint8Array ? [...v] : v));
  const [a, b] = [text(actual), text(expected)];
  if (a !== b) throw new Error(`${what}: ${a.slice(0, 200)} is not ${b.slice(0, 200)}`);
}

const bytes = (len, from = 1) => Uint8Array.from({ length: len }, (_, at) => (from + at * 7) % 256);
const write = (file, offset, bytes) => ({ op: "write", file, offset, bytes: bytes.slice() });
const read = (file, offset, len) => ({ op: "read", file, offset, len });
const size = (file) => ({ op: "size", file });
const grow = (file, to) => ({ op: "grow", file, to });
const truncate = (file, to) => ({ op: "truncate", file, to });
const flush = (file) => ({ op: "flush", file });

/** Numbers that a seed fixes. */
function random(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const cases = {
  async "new files are empty and a missing page is nothing"({ files, again }) {
    equal(
      await files.run(FILES.map(size)),
      FILES.map(() => 0),
      "sizes",
    );
    equal(await files.run([read("head", 0, 8192), read("base-1", 4096, 1)]), [[], []], "bytes");
    equal((await again()).empty, true, "empty");
  },
  async "reads end at the end of the file"({ files }) {
    const a = bytes(5000);
    await files.run([write("log-0", 0, a), flush("log-0")]);
    const [all, tail, past, far] = await files.run([
      read("log-0", 0, 9000),
      read("log-0", 4990, 100),
      read("log-0", 5000, 1),
      read("log-0", 1e9, 4096),
    ]);
    equal([all, tail, past, far], [a, a.slice(4990), [], []], "bytes");
  },
  async "a write past the end leaves zeros between"({ files }) {
    await files.run([write("base-0", 10, bytes(3)), write("base-0", 20_000, bytes(2))]);
    const [length, all] = await files.run([size("base-0"), read("base-0", 0, 30_000)]);
    const expected = new Uint8Array(20_002);
    expected.set(bytes(3), 10);
    expected.set(bytes(2), 20_000);
    equal([length, all], [20_002, expected], "file");
  },
  async "growing fills with zeros, keeps what is there and never shrinks"({ files, again }) {
    await files.run([write("log-1", 0, bytes(100)), grow("log-1", 1 << 20), flush("log-1")]);
    await files.run([grow("log-1", 50)]);
    equal(await files.run([size("log-1")]), [1 << 20], "size");
    const [start, end] = await (await again()).run([
      read("log-1", 0, 200),
      read("log-1", (1 << 20) - 5, 100),
    ]);
    equal(
      [start, end],
      [
        [...bytes(100), ...new Array(100).fill(0)],
        [0, 0, 0, 0, 0],
      ],
      "bytes",
    );
  },
  async "what was cut off is zeros when the file grows again"({ files, again }) {
    await files.run([write("base-0", 0, bytes(9000)), write("base-1", 0, bytes(9000)), flush("base-0")]);
    await files.run([truncate("base-0", 4100), truncate("base-0", 6000), truncate("base-1", 0)]);
    equal(await files.run([size("base-0"), size("base-1")]), [4100, 0], "sizes");
    await files.run([grow("base-0", 9000), write("base-1", 8999, bytes(1)), flush("base-0")]);
    const expected = new Uint8Array(9000);
    expected.set(bytes(4100));
    const last = new Uint8Array(9000);
    last.set(bytes(1), 8999);
    const whole = [read("base-0", 0, 9000), read("base-1", 0, 9000)];
    equal(await files.run(whole), [expected, last], "bytes");
    equal(await (await again()).run(whole), [expected, last], "bytes again");
  },
  async "a batch sees what it cut off itself"({ files }) {
    const [, , , , all] = await files.run([
      write("log-1", 0, bytes(5000)),
      truncate("log-1", 100),
      write("log-1", 4200, bytes(10)),
      size("log-1"),
      read("log-1", 0, 5000),
    ]);
    const expected = new Uint8Array(4210);
    expected.set(bytes(100));
    expected.set(bytes(10), 4200);
    equal(all, expected, "bytes");
  },
  async "an empty write changes nothing"({ files }) {
    await files.run([write("head", 4096, new Uint8Array()), grow("head", 0)]);
    equal(await files.run([size("head")]), [0], "size");
  },
  async "a batch sees what it wrote itself"({ files }) {
    const [, , , length, all] = await files.run([
      write("log-0", 0, bytes(4100)),
      grow("log-0", 8192),
      write("log-0", 4090, bytes(20, 9)),
      size("log-0"),
      read("log-0", 4080, 40),
    ]);
    const expected = [...bytes(4100).slice(4080, 4090), ...bytes(20, 9), ...new Array(10).fill(0)];
    equal([length, all], [8192, expected], "batch");
  },
  async "a repeated batch is harmless"({ files, again }) {
    const ops = [
      grow("log-0", 9000),
      write("log-0", 512, bytes(300)),
      flush("log-0"),
      write("head", 0, bytes(4096)),
      flush("head"),
    ];
    for (let time = 0; time < 3; time += 1) {
      equal(await files.run(ops), [null, null, null, null, null], "values");
    }
    const other = await again();
    equal(other.empty, false, "empty");
    equal(
      await other.run([size("log-0"), size("head"), read("log-0", 512, 300)]),
      [9000, 4096, bytes(300)],
      "files",
    );
  },
  async "appends of any size come back, also after reopening"({ files, again, seed }) {
    const next = random(seed);
    const model = [];
    for (let at = 0; at < 60; at += 1) {
      const part = bytes(1 + next(next(4) ? 300 : 9000), next(256));
      await files.run([write("log-1", model.length, part), flush("log-1")]);
      model.push(...part);
    }
    equal(await files.run([read("log-1", 0, model.length + 1)]), [model], "before");
    equal(await (await again()).run([read("log-1", 0, model.length + 1)]), [model], "after");
  },
  async "any operations give what a plain array gives"({ files, again, seed }) {
    const next = random(seed);
    const model = new Map(FILES.map((name) => [name, new Uint8Array()]));
    const reach = (name, to) => {
      const before = model.get(name);
      if (to <= before.length) return;
      const longer = new Uint8Array(to);
      longer.set(before);
      model.set(name, longer);
    };
    const expect = (op) => {
      const now = () => model.get(op.file);
      if (op.op === "size") return now().length;
      if (op.op === "read") return now().slice(op.offset, op.offset + op.len);
      if (op.op === "grow") reach(op.file, op.to);
      if (op.op === "write" && op.bytes.length > 0) {
        reach(op.file, op.offset + op.bytes.length);
        now().set(op.bytes, op.offset);
      }
      return null;
    };
    const make = () => {
      const file = FILES[next(FILES.length)];
      const offset = next(2) ? next(30_000) : 4096 * next(6);
      const len = next(3) ? next(6000) : 4096 * next(4);
      return [
        write(file, offset, bytes(len, next(256))),
        read(file, offset, len),
        size(file),
        grow(file, next(40_000)),
        flush(file),
      ][next(5)];
    };
    let open = files;
    for (let round = 0; round < 150; round += 1) {
      const ops = Array.from({ length: 1 + next(6) }, make);
      equal(
        await open.run(ops),
        ops.map(expect),
        `round ${round} of seed ${seed}: ${ops.map(({ op }) => op)}`,
      );
      if (next(20) === 0) open = await again();
    }
  },
  async "a document of megabytes comes back in slices"({ files, again }) {
    const slice = 4 << 20;
    const a = bytes(slice, 5);
    for (const at of [0, 1]) await files.run([write("base-0", at * slice, a)]);
    await files.run([flush("base-0")]);
    const other = await again();
    for (const at of [0, 1]) {
      const [found] = await other.run([read("base-0", at * slice, slice)]);
      if (found.length !== slice || found.some((byte, index) => byte !== a[index]))
        throw new Error(`slice ${at} differs`);
    }
  },
  async "each batch is answered once, in order"({ kind, document, files }) {
    files.close();
    const answers = [];
    const batches = [1, 2, 3].map((no) => ({
      no,
      ops: [write("log-0", no, bytes(1, no)), flush("log-0"), size("log-0")],
    }));
    const all = await new Promise((resolve, reject) => {
      const take = (answer) => {
        answers.push(answer);
        if (answer.no === 3) resolve(answers);
      };
      if (kind !== "opfs") {
        const disk = new LocalDisk({
          open: () => kinds[kind](document),
          ready: () => {
            for (const batch of batches) disk.give(batch);
          },
          answer: take,
          lost: reject,
          absent: reject,
        });
        disk.want();
        return;
      }
      const { port1, port2 } = new MessageChannel();
      new DocumentDisk(port1, () => undefined);
      port2.onmessage = ({ data }) => {
        if (data.ready) for (const batch of batches) port2.postMessage({ batch });
        if (data.answer) take(data.answer);
        if (data.absent || data.failed || data.lost) reject(new Error(JSON.stringify(data)));
      };
      navigator.locks.request(`suite|${document}`, () => new Promise(() => undefined));
      port2.postMessage({ open: { document, hubLock: `suite|${document}` } });
    });
    equal(
      all,
      [2, 3, 4].map((size, at) => ({ no: at + 1, values: [null, null, size] })),
      "answers",
    );
  },
  async "files that were taken away are lost, not failed"({ kind, files }) {
    // Nobody takes memory away.
    if (kind === "memory") return;
    files.close();
    const outcome = await carryOut(files, { no: 1, ops: [write("log-0", 0, bytes(1)), flush("log-0")] });
    equal(Object.keys(outcome), ["lost"], "outcome");
  },
};

async function run({ kind, name, seed }) {
  const document = `suite-${crypto.randomUUID()}`;
  let files = await kinds[kind](document);
  const again = async () => {
    files.close();
    files = await kinds[kind](document);
    return files;
  };
  await cases[name]({ kind, document, files, again, seed });
  files.close();
}

self.onmessage = async ({ data }) => {
  if (data === "names") {
    self.postMessage({ names: Object.keys(cases) });
    return;
  }
  try {
    await run(data);
    self.postMessage({ passed: true });
  } catch (error) {
    self.postMessage({ passed: false, why: String(error?.stack ?? error?.message ?? error) });
  }
};
