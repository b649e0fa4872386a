import { chromium } from "playwright-core";
import { CHROMIUM } from "./browser.ts";

/**
 * The README's picture of the demo page: `node test/demo/screenshot.ts URL docs/demo.png`, with URL as
 * printed by `npm start`. It shows the most telling block: the one with the most accepted tokens that also
 * has rejected ones.
 */
const [url, out] = process.argv.slice(2);
if (url === undefined || out === undefined || CHROMIUM === null) {
  throw new Error("usage: node test/demo/screenshot.ts URL FILE.png (needs a Chromium, see browser.ts)");
}
const settings = new URLSearchParams({ prompt: "Why is the sky blue?", max: "144" });
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1180, height: 700 }, deviceScaleFactor: 1.5 });
await page.goto(`${url}#${settings}`);
await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[name=model]")?.value !== "");
await page.click("#run");
await page.waitForSelector("#run:visible", { timeout: 120_000 });
await page.evaluate(() => {
  if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
});
const blocks = await page.locator(".block:has(.accepted)").all();
let best = { accepted: 0, index: 0 };
for (const [index, block] of blocks.entries()) {
  await block.hover();
  const accepted = await page.locator("#inspector .token.accepted").count();
  const rejected = await page.locator("#inspector .token.rejected").count();
  if (accepted > best.accepted && rejected > 2) best = { accepted, index };
}
await blocks[best.index]?.hover();
await page.screenshot({ path: out });
await browser.close();
