// Sign-in with a link of an e-mail and with a provider of identities, as Auth answers them.

import assert from "node:assert/strict";

export const identity = {
  "a provider that the project has signs in": async (visitor) => {
    visitor.expected = /status of 503/; // the service of this test has no database
    await visitor.open();
    await visitor.page.getByRole("button", { name: "Continue with github" }).waitFor();
    assert.equal(await visitor.page.getByRole("button", { name: /^Continue with/ }).count(), 1, "none that is not enabled");
    await visitor.click("Continue with github");
    await signedIn(visitor);
  },

  "no address leads to another site after the sign-in": async (visitor) => {
    visitor.expected = /status of 503/;
    const elsewhere = "https://attacker.example/";
    await visitor.open(`?redirect_to=${elsewhere}&next=${elsewhere}&returnTo=//attacker.example#redirect_to=${elsewhere}`);
    await visitor.click("Continue with github");
    await signedIn(visitor);
    assert(!visitor.requests.some((each) => new URL(each.url()).hostname === "attacker.example"));
  },

  "a provider that refuses is explained, and another way is there": async (visitor, { ask }) => {
    await ask("refuse the next");
    await visitor.open();
    await visitor.click("Continue with github");
    await visitor.page.getByText("This link is no longer valid. Request a new one.").waitFor();
    assert.equal(await visitor.page.evaluate(() => location.href), visitor.settings.address);
    await visitor.page.getByRole("button", { name: "Sign in", exact: true }).waitFor();
    assert.equal(await visitor.tokens(), null);
  },

  "a link of an e-mail signs in": async (visitor, { supabaseUrl }) => {
    visitor.expected = /status of 503/;
    await visitor.open();
    await visitor.page.getByLabel("E-mail", { exact: true }).fill(visitor.email);
    await visitor.click("E-mail me a link");
    await visitor.page.getByText("We sent you an e-mail. Open its link to sign in.").waitFor();
    const { link } = await (await fetch(`${supabaseUrl}/mails/${visitor.email}`)).json();
    await visitor.page.goto(link);
    await signedIn(visitor);
  },

  "a link that was used is explained, and nothing of it is shown as HTML": async (visitor) => {
    const fragment = new URLSearchParams({ error: "access_denied", error_code: "otp_expired", error_description: "<img src=x onerror=alert(1)>" });
    await visitor.open(`#${fragment}`);
    await visitor.page.getByText("This link is no longer valid. Request a new one.").waitFor();
    assert.equal(await visitor.page.locator("main img").count(), 0);
    assert.equal(await visitor.page.evaluate(() => location.href), visitor.settings.address);
  },

  "a token in an address that Auth does not know signs nobody in": async (visitor) => {
    visitor.expected = /status of 403/;
    await visitor.open("#access_token=made-up&refresh_token=x&expires_in=3600&token_type=bearer");
    await visitor.heading("Start here");
    assert.equal(await visitor.tokens(), null);
    assert.equal(await visitor.page.evaluate(() => location.href), visitor.settings.address);
  },
};

async function signedIn(visitor) {
  await visitor.page.locator(".user").getByText("ada@example.org").waitFor();
  assert.equal(await visitor.page.evaluate(() => location.href), visitor.settings.address, "no token in the address");
  const { access_token: token, user } = await visitor.tokens();
  assert.equal(user.email, "ada@example.org");
  assert(token.length > 20);
}
