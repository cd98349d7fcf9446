// What visitors see while something is down. The voices are of a simulated provider; `ask` stops and starts parts.

import assert from "node:assert/strict";

export const outages = {
  "a provider that refuses is explained, and tried again": async (visitor, { sample, ask }) => {
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    visitor.expected = /status of 50[23]/;
    await ask("refuse the next voice");
    await visitor.make();
    await visitor.problem("invalid_format");
    await visitor.accessible();
    assert.equal(await visitor.page.locator("main img").count(), 0, "what the provider said is no HTML here");
    assert.equal(await visitor.page.title(), "Likeness");
    await visitor.click("Try again");
    await visitor.hear();
    await ask("be down for speech");
    await visitor.page.getByLabel("Text").fill("After the outage.");
    await visitor.click("Speak");
    await visitor.page.getByText("The provider of the voice cannot be reached.").waitFor();
    await ask("be up again");
    await visitor.page.getByLabel("Speech: After the outage.").waitFor();
    await ask("refuse the next speech");
    await visitor.page.getByLabel("Text").fill("After the refusal.");
    await visitor.click("Speak");
    await visitor.page.locator(".history .problem").waitFor();
    await visitor.accessible();
    await visitor.click("Try again");
    await visitor.page.getByLabel("Speech: After the refusal.").waitFor();
    await ask("refuse the next voice elsewhere");
    await visitor.click("Move to Qwen");
    await visitor.click("Send the sample");
    await visitor.heading("It could not be made at Qwen");
    await visitor.accessible();
    await visitor.click("Try again");
    await visitor.heading("Ready at Qwen");
    await ask("refuse the next voice");
    await visitor.click("Use another sample");
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await visitor.make();
    await visitor.problem("invalid_format");
    await visitor.click("Use the voice before");
    await visitor.page.getByText("Ready for conversations.").waitFor();
    await visitor.page.getByText("Voice made").waitFor();
    await visitor.click("Delete");
    await visitor.page.locator("dialog").getByRole("button", { name: "Delete" }).click();
    await visitor.page.getByText("You have no voice yet.").waitFor();
    assert.deepEqual(await visitor.read("api/voices"), [], "those of each sample and each provider");
  },

  "a database that stops is waited for": async (visitor, { sample, ask }) => {
    visitor.expected = /status of 503/;
    await visitor.signUp();
    await visitor.agree();
    await visitor.drop(sample, "sample.wav", "audio/wav");
    await ask("stop Postgres");
    await visitor.make();
    await visitor.page.getByText("The service is busy.").waitFor();
    await ask("start Postgres");
    await visitor.heading("Hear it first");
  },
};
