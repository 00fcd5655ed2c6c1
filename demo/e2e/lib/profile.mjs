import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";
import { until, within } from "./poll.mjs";

const programs = {
  chromium: process.env.OFFPRINT_CHROMIUM ?? "/usr/bin/chromium",
  firefox: process.env.OFFPRINT_FIREFOX ?? "/usr/bin/firefox-esr",
};

/** The browser under test. */
export const browserName = process.env.OFFPRINT_BROWSER ?? "chromium";

const chromiumFlags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// Puppeteer turns these off by default; users have them on.
const throttling = [
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];

const defaultViewport = { width: 1280, height: 800 };

function launch(name, userDataDir, { prefs, args = [] }) {
  const common = {
    executablePath: programs[name],
    userDataDir,
    headless: true,
    handleSIGINT: false,
    defaultViewport,
    timeout: 90_000,
    protocolTimeout: 180_000,
  };
  if (name === "firefox") {
    return puppeteer.launch({ ...common, browser: "firefox", args, extraPrefsFirefox: prefs ?? {} });
  }
  return puppeteer.launch({
    ...common,
    browser: "chrome",
    args: [...chromiumFlags, ...args],
    ignoreDefaultArgs: throttling,
  });
}

/** A browser profile of its own: what it keeps outlives the browser, until `remove`. */
export class Profile {
  #folder = mkdtempSync(join(tmpdir(), "offprint-profile-"));
  #browser;
  #said = [];
  #settings;

  /** `settings` has Firefox's `prefs` and the browser's `args`. */
  constructor(name = browserName, settings = {}) {
    this.name = name;
    this.#settings = settings;
  }

  /** What its tabs show, who holds which lock, and what was said on the consoles. */
  async account() {
    const tabs = (await this.#browser?.pages()) ?? [];
    const ask = (page) =>
      page.evaluate(async () => {
        const { held, pending } = await navigator.locks.query();
        const names = (locks) => locks.map(({ name, mode }) => `${name} (${mode})`);
        return { text: document.body.innerText, held: names(held), pending: names(pending) };
      });
    const told = await Promise.allSettled(tabs.map((page) => within(5, "a tab answers", ask(page))));
    const lines = told.map(({ value, reason }) => JSON.stringify(value ?? String(reason)));
    return [`${this.name}:`, ...lines, ...this.#said].join("\n  ");
  }

  async start() {
    this.#browser = await within(120, `${this.name} starts`, launch(this.name, this.#folder, this.#settings));
    return this;
  }

  /** A new tab at this address, loaded. */
  async open(url) {
    const page = await this.#blank();
    page.setDefaultTimeout(90_000);
    page.on("pageerror", (error) => this.#said.push(`error: ${error.message}`));
    page.on("console", (message) => this.#said.push(`${message.type()}: ${message.text()}`));
    await page.goto(url, { waitUntil: "load" });
    return page;
  }

  /** Closes a tab; a tab that does not answer is left to the browser's end. */
  async closeTab(page) {
    await within(30, "a tab closes", page.close());
  }

  /** Ends the browser as a person does. */
  async quit() {
    const browser = this.#take();
    const gone = ended(browser.process());
    await within(60, `${this.name} quits`, browser.close());
    await within(60, `${this.name} ends`, gone);
  }

  /** Ends every process of the browser at once: nothing gets to run any more. */
  async kill() {
    const browser = this.#take();
    const child = browser.process();
    const gone = ended(child);
    // Puppeteer starts browsers as leaders of a process group.
    process.kill(-child.pid, "SIGKILL");
    await within(60, `${this.name} ends`, gone);
    await until("the browser's processes are gone", () => !groupAlive(child.pid));
    browser.disconnect().catch(() => {});
  }

  /** Where the profile is kept. */
  get folder() {
    return this.#folder;
  }

  /** The browser itself, for what has no name here. */
  get browser() {
    return this.#browser;
  }

  async remove() {
    if (this.#browser) await this.kill();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /** A new tab. Sometimes Puppeteer gives one that never gets a main frame: nothing can be done with it. */
  async #blank() {
    for (let attempt = 1; ; attempt += 1) {
      const page = await this.#browser.newPage();
      try {
        page.mainFrame();
        return page;
      } catch (error) {
        if (attempt === 3) throw error;
      }
    }
  }

  #take() {
    const browser = this.#browser;
    if (!browser) throw new Error("this profile's browser is not running");
    this.#browser = undefined;
    return browser;
  }
}

const ended = (child) =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once("exit", resolve);
  });

function groupAlive(pid) {
  try {
    process.kill(-pid, 0);
    return true;
  } catch {
    return false;
  }
}
