import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { apt, isDebian } from "./debian.mjs";
import { ask, run, start, which } from "./run.mjs";
import { Stop, say } from "./say.mjs";
import { inTemp } from "./temp.mjs";

const TARGET = "wasm32-unknown-unknown";
const DEBIAN = "debian";
const DEBIAN_PACKAGES = [
  "rustc-web",
  "cargo-web",
  "rust-web-src",
  "rust-web-llvm",
  "rust-web-clippy",
  "lld-22",
];
const DEBIAN_STD = `/usr/lib/rustlib/${TARGET}/lib`;

/** Whether this toolchain links a wasm32 module: standard library, linker and versions all fit. */
async function buildsWasm(env) {
  return inTemp((folder) => {
    const args = [
      "--target",
      TARGET,
      "--crate-type",
      "cdylib",
      "--crate-name",
      "probe",
      "-o",
      join(folder, "probe.wasm"),
      "-",
    ];
    const input = '#[no_mangle] pub extern "C" fn probe() -> usize { std::env::args().count() }';
    return ask("rustc", args, { env, input }) !== undefined;
  });
}

function withDebian() {
  // With rustup its toolchain link picks Debian's compiler; without rustup the one in PATH is Debian's.
  return which("rustup") ? { RUSTUP_TOOLCHAIN: DEBIAN } : {};
}

async function rustupAddsTarget() {
  if (!which("rustup")) return false;
  say(`adding the wasm target (rustup target add ${TARGET})`);
  const { code } = await start("rustup", ["target", "add", TARGET], { show: false }).done;
  return code === 0 && (await buildsWasm());
}

/** Builds the wasm32 standard library from Debian's packaged sources and puts it where Debian's rustc looks. */
async function buildDebianStd() {
  say("building the wasm32 standard library from Debian's sources (about half a minute)");
  await inTemp(async (folder) => {
    mkdirSync(join(folder, "src"));
    writeFileSync(join(folder, "src/lib.rs"), "");
    writeFileSync(
      join(folder, "Cargo.toml"),
      '[package]\nname = "stdbuild"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n',
    );
    await run(
      "/usr/bin/cargo",
      ["build", "--release", "-Zbuild-std=std,panic_abort,panic_unwind,test,proc_macro", "--target", TARGET],
      {
        cwd: folder,
        env: { RUSTC_BOOTSTRAP: "1", RUSTC: "/usr/bin/rustc", CARGO_TARGET_DIR: join(folder, "target") },
      },
    );
    const built = join(folder, "target", TARGET, "release/deps");
    rmSync(DEBIAN_STD, { recursive: true, force: true });
    mkdirSync(DEBIAN_STD, { recursive: true });
    for (const name of readdirSync(built)) {
      if (name.endsWith(".rlib") && !name.startsWith("libstdbuild"))
        copyFileSync(join(built, name), join(DEBIAN_STD, name));
    }
  });
}

async function debianWay() {
  await apt(DEBIAN_PACKAGES, "Rust's wasm target cannot be downloaded here, so Debian's Rust is used.");
  const linked = () =>
    ask("rustup", ["toolchain", "list"])
      ?.split("\n")
      .some((name) => name.split(" ")[0] === DEBIAN);
  if (which("rustup") && !linked()) await run("rustup", ["toolchain", "link", DEBIAN, "/usr"]);
  if (!(await buildsWasm(withDebian()))) await buildDebianStd();
  if (!(await buildsWasm(withDebian())))
    throw new Stop("Debian's rustc does not build for wasm32 even with its standard library built.");
}

/** A Rust toolchain that builds for this machine and for wasm32; sets RUSTUP_TOOLCHAIN for every program started later. */
export async function ensureRust() {
  if (await buildsWasm()) return;
  if ((process.env.RUSTUP_TOOLCHAIN ?? DEBIAN) !== DEBIAN) {
    throw new Stop(
      `RUSTUP_TOOLCHAIN is ${process.env.RUSTUP_TOOLCHAIN}, which does not build for ${TARGET}; unset it or add the target.`,
    );
  }
  const ready = existsSync(DEBIAN_STD) && (await buildsWasm(withDebian()));
  if (!ready) {
    if (await rustupAddsTarget()) return;
    if (!isDebian()) {
      throw new Stop(
        which("rustup")
          ? `Rust's wasm target cannot be downloaded; try again with a network, or run: rustup target add ${TARGET}`
          : "Rust is missing; install it from https://rustup.rs and run this again.",
      );
    }
    await debianWay();
    say("using Debian's Rust (toolchain `debian`)");
  }
  Object.assign(process.env, withDebian());
}

/** The environment in which `cargo fmt` works: Debian's toolchain has no rustfmt, rustup's own does. */
export const rustfmtEnv = () =>
  process.env.RUSTUP_TOOLCHAIN === DEBIAN ? { RUSTUP_TOOLCHAIN: "stable" } : {};
