// Runs the scenarios of the page in one Chromium: node drive.mjs '{"chromium": …}'
// Its last line is what came of each. A line before that asks the test for something; a line on stdin says that it is done.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { outages } from "./outages.mjs";
import { scenarios } from "./scenarios.mjs";
import { Visitor } from "./visitor.mjs";

const settings = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath: settings.chromium,
  chromiumSandbox: false, // its user may be root
  args: [
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-audio-capture=${settings.sample}`,
  ],
});
const results = {};
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
settings.ask = async (what) => {
  process.stdout.write(`${what}\n`);
  await answers.next();
};
for (const [name, scenario] of Object.entries({ scenarios, outages }[settings.which])) {
  if (settings.only && settings.only !== name) continue;
  const visitor = await Visitor.enter(browser, settings);
  const started = performance.now();
  try {
    const told = await scenario(visitor, settings);
    visitor.requireOrder();
    results[name] = { ok: true, ms: performance.now() - started, ...told };
  } catch (error) {
    await visitor.page.screenshot({ path: `${settings.directory}/${name.replaceAll(" ", "-")}.png`, fullPage: true });
    results[name] = { ok: false, error: `${error.stack}\n${visitor.complaints.join("\n")}` };
  }
  await visitor.context.close();
}
await browser.close();
assert(Object.keys(results).length > 0);
process.stdout.write(`${JSON.stringify(results)}\n`);
process.exit();
