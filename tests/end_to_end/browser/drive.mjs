// Opens a page in Chromium, lets it walk, and prints what came of it: node drive.mjs '{"chromium": …, "page": …}'

import { chromium } from "playwright-core";

const settings = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath: settings.chromium,
  chromiumSandbox: false, // its user may be root
  args: [
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", // the microphone is allowed, and speaks the sample
    `--use-file-for-fake-audio-capture=${settings.sample}`,
  ],
});
const complaints = [];
try {
  const page = await browser.newPage();
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(settings.page);
  await page.waitForFunction(() => window.walk);
  const result = await page.evaluate((given) => window.walk(given), settings);
  await page.screenshot({ path: settings.screenshot });
  process.stdout.write(JSON.stringify({ ...result, complaints }));
} catch (error) {
  throw new Error(complaints.join("\n"), { cause: error });
} finally {
  await browser.close();
}
