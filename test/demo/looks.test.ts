import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { BrowserContextOptions, Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import { CHROMIUM, poorContrast, sidewaysOverflow } from "./browser.ts";
import { compare, demoPages, follow, PHONE, run } from "./page.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const DEVICES: Readonly<Record<string, BrowserContextOptions>> = {
  "a desktop, light": { colorScheme: "light" },
  "a desktop, dark": { colorScheme: "dark" },
  "a phone, light": { ...PHONE, colorScheme: "light" },
  "a phone, dark": { ...PHONE, colorScheme: "dark" },
};

/** Serious and critical findings of axe-core. */
async function findings(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
  );
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

describe.skipIf(CHROMIUM === null)("the demo page", () => {
  const demo = demoPages();

  async function fits(page: Page): Promise<void> {
    expect(await sidewaysOverflow(page)).toBe(0);
    expect(await poorContrast(page)).toEqual([]);
    expect(await findings(page)).toEqual([]);
  }

  test.each(Object.entries(DEVICES))("fits %s, and everybody, in every state", async (_, device) => {
    const page = await demo.open(device);
    if (await page.locator("#options:not([open])").count()) await page.click("#options summary");
    await fits(page);
    await run(page, "refuse");
    await fits(page);
    await run(page, "too long");
    await fits(page);
    await page.selectOption("[name=form]", "tools");
    await run(page, "Why?");
    await follow(page, "clear");
    await fits(page);
    await page.selectOption("[name=form]", "free");
    await compare(page, "deep");
    await fits(page);
    await page.click(".block:nth-child(3)");
    await fits(page);
    await page.keyboard.press("Escape");
    await page.click('[data-term="rescorer"]');
    await fits(page);
    await page.keyboard.press("Escape");
    await page.locator(".pane-actions >> text=Show as curl").first().click();
    await fits(page);
  });

  test("groups deep positions of drafts into a few bars", async () => {
    const page = await demo.open(PHONE);
    await run(page, "deep");
    const names = await page.locator("#positions .at").allTextContents();
    expect(names).toEqual(["1", "2", "3", "4", "5", "6", "7", "8", "9–10", "11–14", "15–40"]);
  });

  test("docks the card of a tapped block in a phone's view", async () => {
    const page = await demo.open(PHONE);
    await compare(page);
    await page.tap(".block:nth-child(3)");
    const box = (await page.locator("#inspector").boundingBox())!;
    expect(box.x).toBeGreaterThanOrEqual(0);
    expect(box.x + box.width).toBeLessThanOrEqual(360);
    expect(box.y + box.height).toBeLessThanOrEqual(700);
  });

  test("has the colours of its mode", async () => {
    for (const [colorScheme, paper] of [
      ["light", "rgb(250, 249, 246)"],
      ["dark", "rgb(23, 22, 20)"],
    ] as const) {
      const page = await demo.open({ colorScheme });
      expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe(paper);
    }
  });
});
