// A person at the page: what is typed, clicked and dropped, and what the browser sent meanwhile.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const WAIT = { timeout: 60_000 };
const ZOOMED = { width: 640, height: 360 }; // a screen of 1280 × 720 at 200 %

export class Visitor {
  static async enter(browser, settings, options = {}) {
    const visitor = new Visitor();
    visitor.settings = settings;
    visitor.context = await browser.newContext({ acceptDownloads: true, ...options });
    visitor.context.setDefaultTimeout(WAIT.timeout);
    visitor.page = await visitor.context.newPage();
    visitor.complaints = [];
    visitor.expected = /$^/; // the complaints that a scenario provokes
    visitor.requests = [];
    visitor.clicks = 0;
    visitor.page.on("console", (message) => {
      if (message.type() === "error") visitor.complaints.push(`${message.text()} ${message.location().url}`);
    });
    visitor.page.on("pageerror", (error) => visitor.complaints.push(error.stack));
    visitor.page.on("request", (request) => visitor.requests.push(request));
    visitor.email = `ada-${crypto.randomUUID()}@example.org`;
    visitor.password = "a long password";
    return visitor;
  }

  async open(fragment = "") {
    await this.page.goto(this.settings.address + fragment);
  }

  async click(name, exact = true) {
    this.clicks += 1;
    await this.page.getByRole("button", { name, exact }).click();
  }

  async signUp() {
    await this.open();
    await this.page.getByLabel("E-mail", { exact: true }).fill(this.email);
    await this.page.getByLabel("Password").fill(this.password);
    await this.click("Create account");
    await this.heading("Make your voice");
  }

  async heading(name) {
    await this.page.getByRole("heading", { name, exact: true }).waitFor();
  }

  async agree() {
    this.clicks += 1;
    await this.page.getByLabel("I agree to this statement").check();
  }

  async drop(path, name, type) {
    const content = (await readFile(path)).toString("base64");
    const given = await this.page.evaluateHandle(({ content, name, type }) => {
      const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name, { type }));
      return transfer;
    }, { content, name, type });
    this.clicks += 1;
    await this.page.locator(".drop").dispatchEvent("drop", { dataTransfer: given });
    await this.page.getByLabel("Your sample", { exact: true }).last().waitFor();
  }

  async make() {
    await this.click("Make my voice");
  }

  // After a sample was refused.
  async useAnother(path, name, type) {
    await this.page.locator(".problem").getByRole("button", { name: "Use another sample" }).click();
    await this.heading("Another sample for My voice");
    await this.agree();
    await this.drop(path, name, type);
    await this.make();
  }

  // Plays the clip to its end, as its listener does, and confirms it.
  async hear() {
    await this.heading("Hear it first");
    this.clicks += 1;
    await this.page.getByLabel("Hear it first").last().evaluate((player) => player.play());
    await this.click("I have heard it");
    await this.page.getByText("Ready for conversations.").waitFor();
  }

  async speak(text) {
    await this.page.getByLabel("Text").fill(text);
    await this.click("Speak");
    await this.page.getByLabel(`Speech: ${text}`).waitFor();
  }

  // The sample as it was sent beside the cleaned one: each has a picture and plays, one at a time; then the measures.
  async compare() {
    await this.page.getByText("what was measured").click();
    const [sent, cleaned] = ["As you sent it", "As the provider gets it"].map((name) => this.page.getByLabel(name));
    for (const each of [sent, cleaned]) {
      await each.evaluate(async (player) => {
        await player.play();
        if (!(player.duration > 1)) throw new Error(`${player.duration} s`);
      });
    }
    assert(await sent.evaluate((player) => player.paused), "one plays at a time");
    assert.equal(await this.page.locator(".measures rect").count(), 144);
    await this.page.locator(".measures li").first().waitFor();
  }

  async problem(code) {
    await this.page.locator(`[data-code="${code}"]`).first().waitFor();
  }

  // Of the state, where the test was asked for pictures.
  async picture() {
    const { pictures } = this.settings;
    this.pictures = (this.pictures ?? 0) + 1;
    const name = `${this.name.replaceAll(/\W+/g, "-")}-${this.pictures}`;
    if (pictures) await this.page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
  }

  // Nothing serious, and nothing wider than the screen, at a zoom of 200 % as well.
  async accessible() {
    await this.picture();
    const axe = await readFile(AXE, "utf8");
    await this.page.evaluate(`window.axe || (() => { ${axe} })()`);
    const { violations } = await this.page.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes[0].html]), []);
    const size = this.page.viewportSize();
    for (const { width, height } of size.width > ZOOMED.width ? [size, ZOOMED] : [size]) {
      await this.page.setViewportSize({ width, height });
      const excess = await this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert(excess <= 0, `${excess} px wider than a screen of ${width} px`);
    }
    await this.page.setViewportSize(size);
  }

  async tokens() {
    return this.page.evaluate(() => {
      const key = Object.keys(localStorage).find((each) => /^sb-.*-auth-token$/.test(each));
      return key ? JSON.parse(localStorage[key]) : null;
    });
  }

  // What the service answers to the visitor.
  async read(path) {
    const headers = { authorization: `Bearer ${(await this.tokens()).access_token}` };
    return (await this.context.request.get(`${this.settings.address}${path}`, { headers })).json();
  }

  async changeTokens(change) {
    await this.page.evaluate((change) => {
      const key = Object.keys(localStorage).find((each) => /^sb-.*-auth-token$/.test(each));
      localStorage[key] = JSON.stringify({ ...JSON.parse(localStorage[key]), ...change });
    }, change);
  }

  // No console error, no other origin, and no session in an address or a referrer.
  requireOrder() {
    const origins = [new URL(this.settings.address).origin, this.settings.supabaseUrl];
    for (const request of this.requests) {
      const url = request.url();
      assert(url.startsWith("blob:") || url.startsWith("data:") || origins.includes(new URL(url).origin), url);
      assert(!/access_token|refresh_token=/.test(url.split("#")[0]), url);
      assert.equal(request.headers().referer || undefined, undefined);
    }
    assert.deepEqual(this.complaints.filter((each) => !this.expected.test(each)), []);
  }
}
