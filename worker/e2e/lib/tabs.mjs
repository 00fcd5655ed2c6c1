import { until, within } from "../../../demo/e2e/lib/poll.mjs";
import { Profile } from "../../../demo/e2e/lib/profile.mjs";
import { site } from "./site.mjs";

const ready = (page) => until("the page is ready", () => page.evaluate(() => window.offprint !== undefined));

/** A browser profile with tabs at the site's folders, and names for documents that nobody has used. */
export class Tabs {
  #pages = [];
  #last = 0;

  constructor(served, profile) {
    this.served = served;
    this.profile = profile;
  }

  static async start(settings) {
    return new Tabs(await site(), await new Profile(undefined, settings).start());
  }

  fresh() {
    this.#last += 1;
    return `doc-${this.#last}`;
  }

  async tab(folder = "a") {
    const page = await this.profile.open(this.served.url(folder));
    this.#pages.push(page);
    await ready(page);
    return page;
  }

  async reload(page) {
    await within(60, "reload", page.reload());
    await ready(page);
  }

  async closeTabs() {
    for (const page of this.#pages.splice(0)) {
      if (!page.isClosed()) await within(10, "a tab closes", page.close()).catch(() => undefined);
    }
  }

  async end() {
    await this.profile.remove();
    await this.served.close();
  }
}
