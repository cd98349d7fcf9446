// Where the project asks for a spoken consent.

import assert from "node:assert/strict";

export const spoken = {
  "a consent is read aloud, and again after words that were not heard": async (visitor, { sample, ask }) => {
    visitor.expected = /status of 422/;
    await visitor.context.grantPermissions(["microphone"]);
    await visitor.page.setViewportSize({ width: 320, height: 640 });
    await visitor.signUp();
    await visitor.heading("3. Say this sentence");
    assert.equal(await visitor.page.getByLabel("Language of the statement").locator("option").count(), 1, "only what can be heard");
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.page.getByText("Read the sentence aloud.").waitFor();
    assert(await visitor.page.getByRole("button", { name: "Make my voice" }).isDisabled(), "before it is read");
    await visitor.accessible();
    let sentence = await read(visitor, /^3/);
    await visitor.make();
    await visitor.problem("spoken_words_differ");
    await visitor.accessible();
    await another(visitor, sentence);
    // On a busy machine the browser's microphone leaves words out; then its user reads the next sentence, as the page says.
    const done = visitor.page.getByRole("heading", { name: "Hear it first", exact: true });
    for (let readings = 1; ; readings += 1) {
      await ask("let the sentence be what the microphone hears");
      sentence = await read(visitor, /^8/);
      await visitor.make();
      await done.or(visitor.page.locator("[data-code]")).first().waitFor();
      if (await done.isVisible()) break;
      const code = await visitor.page.locator("[data-code]").first().getAttribute("data-code");
      assert(code === "spoken_words_differ" && readings < 4, `reading ${readings}: ${code}`);
      await another(visitor, sentence);
    }
    const paths = visitor.requests.map((each) => new URL(each.url()).pathname);
    assert(paths.lastIndexOf("/v1/consents/spoken") < paths.indexOf("/api/clone/upload-url"), "signed before the sample is stored");
    assert(!paths.includes("/v1/consents"), "and not by a click alone");
  },
};

// The sentence on the page, which the microphone may not have.
async function read(visitor, until) {
  const sentence = await visitor.page.locator("blockquote").last().textContent();
  await visitor.click("Record the sentence");
  await visitor.page.getByRole("timer").getByText(until).waitFor();
  await visitor.click("Stop");
  await visitor.page.getByLabel("The sentence, read by you").waitFor();
  return sentence;
}

async function another(visitor, before) {
  await visitor.click("Try again");
  await visitor.page.waitForFunction((before) => [...document.querySelectorAll("blockquote")].some((each) => each.textContent.startsWith("Read this") && each.textContent !== before), before);
}
