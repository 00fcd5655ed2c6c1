import { existsSync, readFileSync } from "node:fs";
import { ask, run, which } from "./run.mjs";
import { Stop, say } from "./say.mjs";

/** Whether this machine installs its programs with apt. */
export function isDebian() {
  if (!existsSync("/etc/os-release") || !which("apt-get")) return false;
  return /^ID(_LIKE)?=.*debian/m.test(readFileSync("/etc/os-release", "utf8"));
}

function missing(packages) {
  const states =
    ask("sh", [
      "-c",
      `dpkg-query -W -f '\${Package} \${Status}\\n' ${packages.join(" ")} 2>/dev/null || true`,
    ]) ?? "";
  const there = new Set([...states.matchAll(/^(\S+) install ok installed$/gm)].map((row) => row[1]));
  return packages.filter((name) => !there.has(name));
}

/** Installs the packages that are not there yet; needs root. */
export async function apt(packages, why) {
  const wanted = missing(packages);
  if (wanted.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${wanted.join(" ")}`;
  if (process.getuid?.() !== 0) throw new Stop(`${why} Install it as root: ${command}`);
  say(`${why} Installing with apt: ${wanted.join(" ")}`);
  const options = { env: { DEBIAN_FRONTEND: "noninteractive" }, show: false };
  await run("apt-get", ["update"], options);
  await run("apt-get", ["install", "-y", "--no-install-recommends", ...wanted], options);
}
