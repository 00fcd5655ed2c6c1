import { until } from "./poll.mjs";

/** A tab that shows the board. */
export class BoardPage {
  constructor(page) {
    this.page = page;
  }

  /** Opens the board in a new tab and waits until it is drawn. */
  static async open(profile, url) {
    const board = new BoardPage(await profile.open(url));
    await board.drawn();
    return board;
  }

  async drawn() {
    await until("the board is drawn", async () => {
      const there = await this.page.evaluate(() => ({
        columns: document.querySelectorAll("[data-column]").length,
        text: document.body.innerText,
      }));
      return there.columns > 0 || { not: there.text };
    });
    return this;
  }

  async reload() {
    await this.page.reload({ waitUntil: "load" });
    return this.drawn();
  }

  /** What the header says. */
  status() {
    return this.page.evaluate(() => {
      const say = (name) => document.querySelector(`header [data-${name}]`)?.getAttribute(`data-${name}`);
      return { connection: say("connection"), pending: Number(say("pending")), storage: say("storage") };
    });
  }

  /** Waits until the header says all of this. */
  says(wanted, options) {
    return until(
      `the header says ${JSON.stringify(wanted)}`,
      async () => {
        const status = await this.status();
        return Object.entries(wanted).every(([name, value]) => status[name] === value) || { not: status };
      },
      options,
    );
  }

  /** Waits until the server has everything of this profile. */
  settled(options) {
    return this.says({ connection: "online", pending: 0 }, options);
  }

  /** The columns as they are drawn. */
  lanes() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll("[data-column]")].map((column) => ({
        id: column.dataset.column,
        name: column.querySelector("h2")?.textContent,
        cards: [...column.querySelectorAll("[data-card]")].map((card) => ({
          id: card.dataset.card,
          title: card.querySelector(".title")?.textContent,
          done: card.dataset.done === "true",
        })),
      })),
    );
  }

  /** The titles of one column's cards as they are drawn. */
  async titles(column) {
    const lane = (await this.lanes()).find(({ id, name }) => id === column || name === column);
    return lane?.cards.map(({ title }) => title);
  }

  /** Waits until a column draws exactly these titles. */
  shows(column, titles, options) {
    return until(
      `${column} shows ${JSON.stringify(titles)}`,
      async () => {
        const now = await this.titles(column);
        return JSON.stringify(now) === JSON.stringify(titles) || { not: now };
      },
      options,
    );
  }

  /** The refused changes as they are drawn. */
  notices() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll("[data-refused]")].map((notice) => ({
        by: notice.dataset.refused,
        code: notice.dataset.code,
        text: notice.textContent,
      })),
    );
  }

  async dismissNotices() {
    await this.page.evaluate(() => {
      for (const button of document.querySelectorAll("[data-refused] [aria-label=Dismiss]")) button.click();
    });
    await until("no notice is left", async () => (await this.notices()).length === 0);
  }

  /** Asks for what the server refused once more. */
  async retryRefused() {
    await this.page.evaluate(() => {
      for (const button of document.querySelectorAll("[data-refused=server] .retry")) button.click();
    });
  }

  /** What the server refused, in full. */
  rejections() {
    return this.page.evaluate(() => window.board.rejections);
  }

  /** Every row of the document. */
  rows() {
    return this.page.evaluate(async () => ({
      columns: await window.board.query({ sql: "SELECT * FROM column ORDER BY id", params: [] }),
      cards: await window.board.query({ sql: "SELECT * FROM card ORDER BY id", params: [] }),
    }));
  }

  /** Runs a mutator as the app would, and waits for `durable`. */
  mutate(name, args) {
    return this.page.evaluate(
      async (name, args) => {
        await window.board.mutate[name](args);
      },
      name,
      args,
    );
  }

  /** Writes into the line below a column. */
  async add(column, title) {
    await this.#write(`[data-column="${column}"] .add-text input`, title);
  }

  async addColumn(name) {
    await this.#write(".new-column input", name);
  }

  /** Presses keys on a card. */
  async press(id, ...keys) {
    await this.page.bringToFront();
    await this.#focus(`[data-card="${id}"]`);
    for (const key of keys) {
      const parts = key.split("+");
      const last = parts.pop();
      for (const held of parts) await this.page.keyboard.down(held);
      await this.page.keyboard.press(last);
      for (const held of parts.reverse()) await this.page.keyboard.up(held);
    }
  }

  /** Changes a card's title in its place. */
  async rename(id, title) {
    await this.press(id, "Enter");
    await until("the title can be written", () =>
      this.page.evaluate(
        (id) =>
          document.activeElement?.closest(`[data-card="${id}"]`) !== null &&
          document.activeElement?.matches("textarea"),
        id,
      ),
    );
    if (title === "") await this.page.keyboard.press("Backspace");
    else await this.page.keyboard.type(title);
    await this.page.keyboard.press("Enter");
  }

  /** Clicks one of a card's buttons, by the start of its label. */
  async click(id, label) {
    await this.page.evaluate(
      (id, label) => document.querySelector(`[data-card="${id}"] button[aria-label^="${label}"]`).click(),
      id,
      label,
    );
  }

  /** Drags a card with the mouse onto the middle of an element. */
  async drag(id, selector, { toTop = false } = {}) {
    await this.page.bringToFront();
    const middle = (selector, top) =>
      this.page.evaluate(
        (selector, top) => {
          const box = document.querySelector(selector).getBoundingClientRect();
          return { x: box.x + box.width / 2, y: box.y + (top ? 4 : box.height / 2) };
        },
        selector,
        top,
      );
    const from = await middle(`[data-card="${id}"] .title`, false);
    const to = await middle(selector, toTop);
    await this.page.mouse.move(from.x, from.y);
    await this.page.mouse.down();
    await this.page.mouse.move(to.x, to.y, { steps: 8 });
    await this.page.mouse.up();
  }

  async #focus(selector) {
    await until(`${selector} has the focus`, () =>
      this.page.evaluate((selector) => {
        const element = document.querySelector(selector);
        element?.focus();
        return element !== null && document.activeElement === element;
      }, selector),
    );
  }

  async #write(selector, text) {
    await this.page.bringToFront();
    await this.#focus(selector);
    if (text) await this.page.keyboard.type(text);
    await this.page.keyboard.press("Enter");
  }
}
