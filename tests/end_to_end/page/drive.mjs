// Runs the scenarios of the page in one Chromium: node drive.mjs '{"chromium": …}'
// Its last line is what came of each: an error, or what was measured. A line before that asks the test for something; a line on stdin says that it is done.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { identity } from "./identity.mjs";
import { operations } from "./operations.mjs";
import { outages } from "./outages.mjs";
import { reference } from "./reference.mjs";
import { scenarios } from "./scenarios.mjs";
import { spoken } from "./spoken.mjs";
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
const wanted = Object.entries({ operations, scenarios, outages, spoken, identity, reference }[settings.which]);

async function run(name, scenario) {
  const visitor = await Visitor.enter(browser, settings);
  visitor.name = name;
  try {
    const measured = await scenario(visitor, settings);
    visitor.requireOrder();
    results[name] = { measured };
  } catch (error) {
    await visitor.page.screenshot({ path: `${settings.directory}/${name.replaceAll(" ", "-")}.png`, fullPage: true });
    results[name] = { error: `${error.stack}\n${visitor.complaints.join("\n")}` };
  }
  await visitor.context.close();
}

// Much of a scenario is waiting, for clips that play; so some run side by side.
async function runAll(side) {
  const waiting = [...wanted];
  await Promise.all(Array.from({ length: side }, async () => {
    while (waiting.length) await run(...waiting.shift());
  }));
}
await runAll(settings.side);
await browser.close();
process.stdout.write(`${JSON.stringify(results)}\n`);
process.exit();
