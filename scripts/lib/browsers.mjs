import { apt, isDebian } from "./debian.mjs";
import { which } from "./run.mjs";
import { Stop } from "./say.mjs";

const BROWSERS = {
  chromium: {
    variable: "OFFPRINT_CHROMIUM",
    names: [
      "chromium",
      "chromium-browser",
      "google-chrome-stable",
      "google-chrome",
      "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
      "/Applications/Chromium.app/Contents/MacOS/Chromium",
      "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
    ],
    debian: "chromium",
  },
  firefox: {
    variable: "OFFPRINT_FIREFOX",
    names: [
      "firefox-esr",
      "firefox",
      "/Applications/Firefox.app/Contents/MacOS/firefox",
      "C:\\Program Files\\Mozilla Firefox\\firefox.exe",
    ],
    debian: "firefox-esr",
  },
  chromedriver: { variable: "OFFPRINT_CHROMEDRIVER", names: ["chromedriver"], debian: "chromium-driver" },
};

/** Finds a program of the browser tests, or installs it on Debian; its path is then in the environment variable. */
export async function ensureBrowser(name) {
  const { variable, names, debian } = BROWSERS[name];
  const named = process.env[variable];
  const find = () => (named ? which(named) : which(...names));
  if (named && !find()) throw new Stop(`${variable} is ${named}, which is not a program.`);
  if (!find() && isDebian()) await apt([debian], `The browser tests need ${name}.`);
  const path = find();
  if (!path) throw new Stop(`The browser tests need ${name}: install it, or set ${variable} to its path.`);
  process.env[variable] = path;
}
