// The reference of the API at /schema, which is made from the document of the service.

import assert from "node:assert/strict";

// The summary of each operation in the document, in the order of its tags.
async function summaries(visitor) {
  const document = await (await visitor.context.request.get(`${visitor.settings.address}schema/openapi.json`)).json();
  return Object.values(document.paths).flatMap((item) => Object.values(item).map((operation) => operation.summary));
}

export const reference = {
  "the reference shows each route, its codes and its example": async (visitor, { address }) => {
    await visitor.page.goto(`${address}schema`);
    await visitor.page.getByRole("heading", { name: /^Likeness/ }).waitFor();
    const shown = await visitor.page.locator("#reference h2").allTextContents();
    const missing = (await summaries(visitor)).filter((each) => !shown.some((text) => text.includes(each)));
    assert.deepEqual(missing, []);
    const finalize = visitor.page.locator('[data-section-id="tag/clone/operation/finalize_upload"]');
    await finalize.scrollIntoViewIfNeeded();
    await finalize.getByRole("button", { name: /^422/ }).click();
    await finalize.getByText("invalid_transcript").first().waitFor();
    const example = JSON.parse(await finalize.locator("pre, .redoc-json").first().innerText());
    assert.equal(example.name, "My voice");
  },
};
