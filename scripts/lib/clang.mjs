import { basename, dirname, join } from "node:path";
import { apt, isDebian } from "./debian.mjs";
import { ask, which } from "./run.mjs";
import { Stop } from "./say.mjs";
import { inTemp } from "./temp.mjs";

const VERSIONS = [23, 22, 21, 20, 19, 18, 17, 16];
const FOLDERS = ["/opt/homebrew/opt/llvm/bin", "/usr/local/opt/llvm/bin", "C:\\Program Files\\LLVM\\bin"];
const suffix = process.platform === "win32" ? ".exe" : "";

const compilesWasm = (clang) =>
  inTemp((folder) => {
    const args = ["--target=wasm32", "-x", "c", "-c", "-", "-o", join(folder, "probe.o")];
    return ask(clang, args, { input: "int probe;\n" }) !== undefined;
  });

async function findClang() {
  const named = process.env.CC_wasm32_unknown_unknown;
  const names = [
    "clang",
    ...VERSIONS.map((version) => `clang-${version}`),
    ...FOLDERS.map((f) => join(f, `clang${suffix}`)),
  ];
  for (const name of named ? [named] : names) {
    const path = which(name);
    if (path && (await compilesWasm(path))) return path;
  }
  return undefined;
}

// Another ar does not index wasm objects, and the linker then refuses the archive.
function findAr(clang) {
  const beside = basename(clang).replace("clang", "llvm-ar");
  return which(
    process.env.AR_wasm32_unknown_unknown,
    join(dirname(clang), beside),
    beside,
    "llvm-ar",
    ...VERSIONS.map((version) => `llvm-ar-${version}`),
  );
}

const HOW = {
  darwin: "Apple's has no wasm backend: brew install llvm",
  win32: "winget install LLVM.LLVM",
  linux: "install the packages clang and llvm",
};

/** A clang that compiles C (SQLite) for wasm32, and its ar; sets the variables that cargo's build scripts read. */
export async function ensureClang() {
  let clang = await findClang();
  if ((!clang || !findAr(clang)) && isDebian()) {
    await apt(["clang-22", "llvm-22"], "SQLite is compiled for wasm32 by clang.");
    clang = await findClang();
  }
  const ar = clang && findAr(clang);
  if (!ar)
    throw new Stop(
      `No clang (with llvm-ar) that compiles for wasm32 was found; ${HOW[process.platform] ?? HOW.linux}`,
    );
  process.env.CC_wasm32_unknown_unknown = clang;
  process.env.AR_wasm32_unknown_unknown = ar;
}
