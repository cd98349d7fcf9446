// What visitors do on the page. Each scenario has a context of its own, and so no session of another one.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const BUDGET = 150_000; // bytes before sign-in

export const scenarios = {
  "a dropped file becomes a voice that speaks": async (visitor, { sample }) => {
    let transferred = 0;
    const began = performance.now();
    visitor.page.on("response", async (response) => {
      const { responseBodySize, responseHeadersSize } = await response.request().sizes().catch(() => ({}));
      transferred += (responseBodySize ?? 0) + (responseHeadersSize ?? 0);
    });
    await visitor.open();
    await visitor.heading("Start here");
    await visitor.page.waitForLoadState("networkidle");
    await visitor.accessible();
    const before = transferred;
    assert(before > 0 && before < BUDGET, `${before} bytes before sign-in`);
    await visitor.signUp();
    assert(await visitor.page.getByRole("button", { name: "Make my voice" }).isDisabled(), "before the consent");
    await visitor.agree();
    assert(!visitor.requests.some((each) => each.url().includes("/v1/consents")), "signed when it is sent, and not before");
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.accessible();
    await visitor.make();
    await visitor.heading("Hear it first");
    await visitor.accessible();
    await visitor.compare();
    await visitor.accessible();
    await visitor.hear();
    await visitor.speak("Hello from the page.");
    await visitor.accessible();
    const download = visitor.page.waitForEvent("download");
    visitor.clicks += 1;
    await visitor.page.getByRole("link", { name: "Download" }).click();
    const speech = await readFile(await (await download).path());
    assert.equal(speech.subarray(0, 4).toString(), "RIFF");
    const measured = { clicks: visitor.clicks, seconds: (performance.now() - began) / 1000, transferred: before };
    await visitor.page.reload();
    await visitor.click("Open My voice");
    await visitor.click("Play");
    await visitor.page.getByLabel("Speech: Hello from the page.").waitFor();
    await visitor.page.waitForFunction(() => document.activeElement.tagName === "AUDIO");
    const again = visitor.page.waitForEvent("download");
    await visitor.page.getByRole("link", { name: "Download" }).click();
    assert.deepEqual(await readFile(await (await again).path()), speech, "kept as it was");
    await visitor.accessible();
    await visitor.click("Remove");
    await visitor.page.getByRole("heading", { name: "What it has said" }).waitFor({ state: "hidden" });
    await visitor.page.waitForFunction(() => document.activeElement.tagName === "H1");
    assert.deepEqual(await visitor.read("api/v1/clone"), []);
    const order = visitor.requests.map((each) => `${each.method()} ${new URL(each.url()).pathname}`);
    const signed = order.indexOf("POST /v1/consents");
    assert(signed >= 0 && signed < order.indexOf("POST /api/clone/upload-url"), "the consent is signed first");
    await visitor.page.goto(`${visitor.settings.address}verify`);
    const changed = Buffer.from(speech);
    changed[2000] ^= 1;
    const files = { valid: speech, edited: changed, unmarked: await readFile(sample), unreadable: Buffer.from("text") };
    for (const [verdict, buffer] of Object.entries(files)) {
      await visitor.page.locator("input[type=file]").setInputFiles({ name: `${verdict}.wav`, mimeType: "audio/wav", buffer });
      await visitor.page.locator(`[data-verdict="${verdict}"]`).waitFor();
      assert.equal(await visitor.page.getByText("Synthetic: computed, without a trained model").count(), Number(["valid", "edited"].includes(verdict)));
      await visitor.accessible();
    }
    const buffer = Buffer.alloc(16 * 2 ** 20 + 1);
    await visitor.page.locator("input[type=file]").setInputFiles({ name: "long.wav", mimeType: "audio/wav", buffer });
    await visitor.problem("body_too_large");
    return measured;
  },

  "the microphone is recorded": async (visitor) => {
    await visitor.context.grantPermissions(["microphone"]);
    const began = performance.now();
    await visitor.signUp();
    await visitor.agree();
    await visitor.click("Record");
    await visitor.page.waitForFunction(() => /scaleX\(0\.[2-9]/.test(document.querySelector(".level div")?.style.transform));
    await visitor.page.getByRole("timer").getByText(/^[6-9] of/).waitFor();
    await visitor.click("Stop");
    await visitor.page.getByLabel("Your sample", { exact: true }).last().waitFor();
    await visitor.make();
    await visitor.hear();
    await visitor.speak("Hello from the microphone.");
    const download = visitor.page.waitForEvent("download");
    visitor.clicks += 1;
    await visitor.page.getByRole("link", { name: "Download" }).click();
    await (await download).path();
    const measured = { clicks: visitor.clicks, seconds: (performance.now() - began) / 1000 };
    await visitor.compare();
    return measured;
  },

  "a phone of 320 pixels in the dark shows all of it": async (visitor, { sample }) => {
    await visitor.page.setViewportSize({ width: 320, height: 640 });
    await visitor.page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
    await visitor.open();
    await visitor.heading("Start here");
    await visitor.accessible();
    await visitor.signUp();
    await visitor.accessible();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.make();
    await visitor.hear();
    await visitor.speak("Hello from a phone.");
    await visitor.accessible();
    await visitor.click("All voices");
    await visitor.click("Delete everything");
    await visitor.page.locator("dialog").getByRole("button", { name: "Keep everything" }).click();
    await visitor.click("Delete everything");
    await visitor.page.locator("dialog").getByRole("button", { name: "Delete everything" }).click();
    await visitor.heading("Receipt of your deletion");
    await visitor.page.getByText("The database is empty.").waitFor();
    await visitor.accessible();
    const download = visitor.page.waitForEvent("download");
    await visitor.page.getByRole("link", { name: "Download the signed receipt" }).click();
    const receipt = JSON.parse(await readFile(await (await download).path()));
    assert.equal(receipt.signed.split(".").length, 3);
    await visitor.click("Start anew");
    await visitor.page.getByText("You have no voice yet.").waitFor();
    await visitor.accessible();
    await visitor.page.reload();
    await visitor.click("Receipt of the last deletion");
    await visitor.heading("Receipt of your deletion");
  },

  "a microphone that is not allowed is explained": async (visitor) => {
    await visitor.signUp();
    await visitor.click("Record");
    await visitor.problem("NotAllowedError");
    await visitor.page.locator(".drop").waitFor();
    await visitor.accessible();
  },

  "a sample that is too short or too noisy is refused in words, and an MP3 is taken": async (visitor, { short, noisy, mp3 }) => {
    visitor.expected = /status of 422/;
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(short, "short.wav", "audio/wav");
    await visitor.make();
    await visitor.problem("sample_too_short");
    await visitor.accessible();
    await visitor.useAnother(noisy, "noisy.wav", "audio/wav");
    await visitor.problem("sample_noisy");
    await visitor.accessible();
    await visitor.useAnother(mp3, "sample.mp3", "audio/mpeg");
    await visitor.heading("Hear it first");
  },

  "an expired token is refreshed in the middle": async (visitor, { sample }) => {
    visitor.expected = /status of 401/;
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    const { access_token: token, expires_at: expires } = await visitor.tokens();
    await visitor.changeTokens({ access_token: `${token}x` }); // as if it had expired before its time
    await visitor.make();
    await visitor.hear();
    const refreshed = await visitor.tokens();
    assert.notEqual(refreshed.access_token, `${token}x`);
    await visitor.changeTokens({ expires_at: 1 });
    await visitor.speak("After the refresh.");
    assert((await visitor.tokens()).expires_at >= expires);
    await visitor.changeTokens({ expires_at: 1, refresh_token: "gone" });
    visitor.expected = /status of 40[01]/;
    await visitor.click("All voices");
    await visitor.page.getByText("Your session has ended. Sign in again.").waitFor();
    assert.equal(await visitor.tokens(), null);
  },

  "a lost network is waited for": async (visitor, { sample }) => {
    visitor.expected = /ERR_INTERNET_DISCONNECTED/;
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.context.setOffline(true);
    await visitor.make();
    await visitor.page.getByText("No connection.").waitFor();
    await visitor.context.setOffline(false);
    await visitor.heading("Hear it first");
    await visitor.page.getByText("No connection.").waitFor({ state: "hidden" });
  },

  "an upload is cancelled and sent again": async (visitor, { sample }) => {
    visitor.expected = /ERR_INTERNET_DISCONNECTED/;
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.context.setOffline(true);
    await visitor.make();
    await visitor.click("Cancel");
    await visitor.context.setOffline(false);
    await visitor.make();
    await visitor.heading("Hear it first");
  },

  "a name is text, and a voice is renamed and deleted": async (visitor, { sample }) => {
    const name = "<img src=x onerror=\"document.title='run'\"> Ada";
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, `${name}.wav`, "audio/wav");
    await visitor.page.getByLabel("Name", { exact: true }).fill(name);
    await visitor.make();
    await visitor.heading(name);
    await visitor.heading("Hear it first");
    await visitor.page.getByLabel("Name", { exact: true }).fill("Bea"); // what comes meanwhile leaves it as it is
    await visitor.hear();
    await visitor.page.getByText("You heard the preview").waitFor();
    await visitor.click("Rename");
    await visitor.heading("Bea");
    await visitor.click("All voices");
    await visitor.page.getByText("Ready for conversations.").waitFor();
    await visitor.accessible();
    assert.equal(await visitor.page.title(), "Likeness");
    await visitor.open(); // the same, from what is stored
    await visitor.click("Open Bea");
    await visitor.page.getByText("You heard the preview").waitFor();
    await visitor.click("Delete");
    await visitor.page.getByText("Delete “Bea”").waitFor();
    await visitor.accessible();
    await visitor.page.locator("dialog").getByRole("button", { name: "Delete" }).click();
    await visitor.page.getByText("You have no voice yet.").waitFor();
  },

  "a consent is taken back, and its voice is silent": async (visitor, { sample }) => {
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.make();
    await visitor.hear();
    await visitor.click("Take back my consent");
    await visitor.page.locator("dialog").getByText(/Silent at once.*: My voice\./).waitFor();
    await visitor.accessible();
    await visitor.page.locator("dialog").getByRole("button", { name: "Keep it" }).click();
    await visitor.page.getByText("Ready for conversations.").waitFor();
    await visitor.click("All voices");
    await visitor.click("Show your consents");
    await visitor.heading("Your consents");
    await visitor.page.getByText("Under this consent: My voice").waitFor();
    await visitor.page.getByText("The statement, in English").click();
    await visitor.page.getByText("I am the person who speaks in this recording").waitFor();
    await visitor.accessible();
    await visitor.click("Take back my consent");
    await visitor.page.locator("dialog").getByRole("button", { name: "Take it back" }).click();
    await visitor.page.getByText("Taken back on").waitFor();
    assert.equal(await visitor.page.getByRole("button", { name: "Take back my consent" }).count(), 0);
    await visitor.accessible();
    await visitor.click("All voices");
    await visitor.page.getByText("There is no voice yet.").waitFor();
    await visitor.click("Open My voice");
    await visitor.page.getByText("You took back your consent.").waitFor();
    assert.equal(await visitor.page.getByLabel("Text").count(), 0, "nothing speaks with it");
    await visitor.accessible();
    assert.deepEqual(await visitor.read("api/voices"), []);
  },

  "a voice is moved to another provider and used there": async (visitor, { sample }) => {
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.make();
    await visitor.hear();
    await visitor.click("Move to ElevenLabs");
    await visitor.page.locator("dialog").getByText("Make the same voice at ElevenLabs?").waitFor();
    await visitor.accessible();
    await visitor.click("Send the sample");
    await visitor.heading("Ready at ElevenLabs");
    await visitor.page.getByText("Ready for conversations.").waitFor();
    await visitor.click("Hear it");
    await visitor.page.getByLabel("Speech: This is how I sound here.").waitFor();
    await visitor.accessible();
    await visitor.page.reload();
    await visitor.click("Open My voice");
    await visitor.click("Use this one");
    await visitor.hear();
    await visitor.page.getByText("This voice is made and spoken by ElevenLabs.").waitFor();
    await visitor.click("Remove it there");
    await visitor.page.locator("dialog").getByText("Remove the voice at Local?").waitFor();
    await visitor.page.locator("dialog").getByRole("button", { name: "Remove it there" }).click();
    await visitor.page.getByRole("button", { name: "Move to Local" }).waitFor();
    await visitor.page.waitForFunction(() => document.activeElement.textContent === "The same voice elsewhere");
    await visitor.page.getByText("Ready for conversations.").waitFor();
    await visitor.accessible();
    await visitor.click("Delete");
    await visitor.page.locator("dialog").getByRole("button", { name: "Delete" }).click();
    await visitor.page.getByText("You have no voice yet.").waitFor();
    assert.deepEqual(await visitor.read("api/voices"), [], "the one that its reflection used, and the one that was moved");
  },

  "a session comes by the address and leaves it, and ends in every tab": async (visitor) => {
    visitor.expected = /status of 400/;
    await visitor.signUp();
    const { access_token, refresh_token, expires_in, token_type } = await visitor.tokens();
    await visitor.page.evaluate(() => localStorage.clear());
    const fragment = new URLSearchParams({ access_token, refresh_token, expires_in, token_type, type: "magiclink" });
    await visitor.page.goto("about:blank");
    await visitor.open(`#${fragment}`);
    await visitor.heading("Make your voice");
    assert.equal(await visitor.page.evaluate(() => location.href), visitor.settings.address);
    const other = await visitor.context.newPage();
    await other.goto(visitor.settings.address);
    await other.getByRole("button", { name: "Sign out" }).click();
    await visitor.heading("Start here");
    await visitor.page.getByLabel("E-mail", { exact: true }).fill(visitor.email);
    await visitor.page.getByLabel("Password").fill("another password");
    await visitor.click("Sign in");
    await visitor.page.getByText("E-mail or password is wrong.").waitFor();
    await visitor.page.getByLabel("Password").fill(visitor.password);
    await visitor.click("Sign in");
    await visitor.heading("Make your voice");
    await visitor.open("#error=access_denied&error_code=otp_expired");
    await visitor.page.reload();
    await visitor.heading("Make your voice");
  },
};
