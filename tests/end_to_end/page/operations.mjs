// What operators do at /operations.

import assert from "node:assert/strict";

async function enter(visitor, { secretKey }) {
  await visitor.open("operations");
  await visitor.page.getByLabel("Secret key").fill(secretKey);
  await visitor.click("Sign in");
  await visitor.page.getByRole("heading", { name: "Queues" }).waitFor();
}

const axes = async (visitor) => {
  await visitor.page.waitForFunction(() => document.querySelectorAll(".plot svg .grid").length === document.querySelectorAll(".plot svg").length);
  await visitor.accessible();
};

export const operations = {
  "a wrong key is refused and a right one is kept nowhere": async (visitor, settings) => {
    visitor.expected = /401/;
    await visitor.open("operations");
    await visitor.accessible();
    await visitor.page.getByLabel("Secret key").fill("sb_secret_wrong");
    await visitor.click("Sign in");
    await visitor.problem("token_malformed");
    await enter(visitor, settings);
    const kept = await visitor.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.body.innerHTML]));
    assert(!kept.includes(settings.secretKey), "the key is in the memory of the tab alone");
    assert(!visitor.requests.some((each) => each.url().includes(settings.secretKey)));
    const sent = visitor.requests.filter((each) => each.headers().authorization?.includes(settings.secretKey));
    assert(sent.length > 0 && sent.every((each) => new URL(each.url()).origin === new URL(settings.address).origin));
    await visitor.page.reload();
    await visitor.page.getByLabel("Secret key").waitFor();
  },

  "what stands still is seen, sent again, retried and swept": async (visitor, settings) => {
    await settings.ask("plant");
    await enter(visitor, settings);
    const { page } = visitor;
    const picture = async (name, options) => settings.pictures && (await page.screenshot({ path: `${settings.pictures}/${name}`, ...options }));
    await page.getByRole("link", { name: "1 dead letter" }).waitFor();
    await page.getByText("<img src=x onerror=alert(1)>").waitFor();
    assert.equal(await page.locator("main img").count(), 0, "text stays text");
    await page.getByRole("link", { name: "The check of the voices at elevenlabs stopped: all_voices_missing" }).waitFor();
    await page.locator(".tile", { hasText: "Takedowns" }).getByText("1 attempt frozen").waitFor();
    await page.locator(".plot svg").nth(2).waitFor(); // the series is read every 30 seconds
    await axes(visitor);
    await picture("operations.png", { clip: { x: 0, y: 0, width: 1280, height: 1560 }, fullPage: true });
    await page.emulateMedia({ colorScheme: "dark" });
    await axes(visitor);
    await picture("operations-dark.png", { fullPage: true });
    await page.emulateMedia({ colorScheme: "light" });
    await picture("operations-light.png", { fullPage: true });
    await page.setViewportSize({ width: 320, height: 800 });
    await axes(visitor);
    await page.setViewportSize({ width: 390, height: 800 });
    await axes(visitor);
    await picture("operations-narrow.png", { fullPage: true });
    await page.emulateMedia({ colorScheme: "dark" });
    await picture("operations-narrow-dark.png", { fullPage: true });
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 640, height: 400 }); // 1280 at a zoom of 200 %
    await axes(visitor);
    await page.setViewportSize({ width: 1280, height: 900 });

    await page.getByRole("button", { name: "24 hours" }).click();
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "24 hours", "the focus stays");
    await page.getByRole("button", { name: /^Show attempt/ }).first().click();
    await page.getByRole("heading", { name: "Timeline" }).waitFor();
    await axes(visitor);
    await visitor.click("Close");

    await page.getByLabel(/^Choose letter/).first().check();
    await visitor.click("Send 1 letter again");
    await visitor.click("No, leave it");
    assert(!visitor.requests.some((each) => each.method() === "POST"), "nothing without a confirmation");
    await visitor.click("Send 1 letter again");
    await page.locator("dialog").getByRole("button", { name: "Send 1 letter again" }).click();
    await page.getByText("1 letter was sent again.").waitFor();
    await page.getByText("There is no dead letter.").waitFor();
    const asOf = await page.locator(".freshness").textContent();
    await page.waitForFunction((before) => document.querySelector(".freshness").textContent !== before, asOf);
    assert(await page.getByText("1 letter was sent again.").isVisible(), "until the next command");

    await page.getByRole("button", { name: /^Retry attempt/ }).first().click();
    await page.locator("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByText("Retried: it is queued now.", { exact: true }).last().waitFor();
    await visitor.click("Run the sweep");
    await page.locator("dialog").getByRole("button", { name: "Run the sweep" }).click();
    await page.locator(".note").getByText(/^(Swept|Nothing was overdue)/).waitFor();
    await page.getByLabel("Id of the attempt").fill("nonsense");
    await visitor.click("Look it up");
    await page.getByText("This is not the id of an attempt.").waitFor();
    await visitor.click("Sign out");
    await page.getByLabel("Secret key").waitFor();
  },

  "a user with the role viewer looks and has no commands": async (visitor, settings) => {
    visitor.expected = /403/;
    await visitor.signUp();
    await visitor.open("operations");
    await visitor.click(`Continue as ${visitor.email}`);
    await visitor.problem("operator_required");
    await visitor.changeTokens({ access_token: settings.viewersToken }); // as Auth gives it once the role is set
    await visitor.open("operations");
    await visitor.click(`Continue as ${visitor.email}`);
    await visitor.page.getByRole("heading", { name: "Queues" }).waitFor();
    await visitor.page.getByText("may look, not change").waitFor();
    for (const name of [/^Run the sweep/, /^Retry/, /again$/]) assert.equal(await visitor.page.getByRole("button", { name }).count(), 0);
  },

  "while the service is away the page says so and shows what it knew": async (visitor, settings) => {
    visitor.expected = /50[0-9]|Failed to load|ERR_/;
    await enter(visitor, settings);
    await visitor.page.route("**/operations/st*", (route) => route.abort());
    await visitor.page.getByText(/^The service does not answer/).waitFor();
    await visitor.page.getByRole("heading", { name: "Queues" }).waitFor();
    await visitor.page.unroute("**/operations/st*");
    await visitor.page.getByText(/^As of/).waitFor();
  },
};
