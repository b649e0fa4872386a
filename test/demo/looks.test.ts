import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { AxeResults } from "axe-core";
import type { BrowserContextOptions, Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import { openApiDocument } from "../../edge/openai/openapi.ts";
import { chatBody } from "../../edge/openai/schema.ts";
import { guidePages } from "../../scripts/guide.ts";
import { CHROMIUM, poorContrast, sidewaysOverflow } from "./browser.ts";
import { compare, demoPages, follow, PHONE, run } from "./page.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const DEVICES: Readonly<Record<string, BrowserContextOptions>> = { "a desktop": {}, "a phone": PHONE };

type Axe = { run(options: object): Promise<AxeResults> };

/** Serious and critical findings of axe-core; contrast is poorContrast's, which takes a fraction of the time. */
async function findings(page: Page): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: Axe }).axe.run({
      resultTypes: ["violations"],
      rules: { "color-contrast": { enabled: false } },
    }),
  );
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

describe.skipIf(CHROMIUM === null)("the demo page", () => {
  const demo = demoPages();

  let taken = 0;
  /**
   * By axe-core, and in either mode sideways and by contrast; with pictures for a reader where $SCREENSHOTS names a folder.
   */
  async function fits(page: Page): Promise<void> {
    expect(await findings(page)).toEqual([]);
    const test = expect.getState().currentTestName?.replaceAll(/[^a-z]+/gi, "-");
    taken++;
    for (const colorScheme of ["dark", "light"] as const) {
      await page.emulateMedia({ colorScheme });
      if (process.env.SCREENSHOTS !== undefined) {
        const path = join(process.env.SCREENSHOTS, `${test}-${taken}-${colorScheme}.png`);
        await page.screenshot({ path, fullPage: true });
      }
      expect(await sidewaysOverflow(page)).toBe(0);
      expect(await poorContrast(page)).toEqual([]);
    }
  }

  test.each(Object.entries(DEVICES))(
    "fits %s in either mode, and everybody, before an answer and after errors",
    async (_, device) => {
      const page = await demo.open(device);
      if (await page.locator("#options:not([open])").count()) await page.click("#options summary");
      await fits(page);
      await run(page, "refuse");
      await run(page, "too long");
      await fits(page);
      await page.click('[data-term="rescorer"]');
      await fits(page);
    },
  );

  test.each(Object.entries(DEVICES))(
    "fits %s in either mode, and everybody, with answers of all kinds",
    async (_, device) => {
      const page = await demo.open(device);
      if (await page.locator("#options:not([open])").count()) await page.click("#options summary");
      await page.selectOption("[name=form]", "tools");
      await run(page, "cut");
      await follow(page, "clear");
      await fits(page);
      await page.selectOption("[name=form]", "free");
      await compare(page, "deep");
      await page.click(".block:nth-child(3)");
      await fits(page);
      await page.keyboard.press("Escape");
      await page.locator(".pane-actions >> text=Show as curl").first().click();
      await fits(page);
    },
  );

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

  test.each(Object.entries(DEVICES))(
    "has a reference that fits %s in either mode, and everybody",
    async (_, device) => {
      const page = await demo.openPath("reference", device);
      await page.locator("#operations h2").nth(5).waitFor();
      await page.locator("details[open] details summary").first().click();
      await fits(page);
      await page.goto(`${demo.server.url}/docs/deploy`);
      await fits(page);
    },
  );

  test("has a reference of every route and field", async () => {
    const page = await demo.openPath("reference#post-v1-completions");
    await page.locator("#operations h2").nth(5).waitFor();
    const { paths } = openApiDocument();
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()}${path}`),
    );
    expect(await page.locator("#operations h2").allTextContents()).toEqual(routes);
    expect(await page.locator("#post-v1-completions").isVisible()).toBe(true);
    const chat = page.locator("#post-v1-chat-completions ~ details").first();
    const fields = await chat.locator("> .schema > li > .name").allTextContents();
    expect(fields).toEqual(Object.keys(chatBody.shape));
    const temperature = chat.locator("> .schema > li", { has: page.locator("text=/^temperature$/") });
    expect(await temperature.locator("> .type").first().textContent()).toBe("number (0..2) or null");
    await chat.locator("text=Fields of speculation").click();
    await chat.locator("text=Fields of rescorer").click();
    // The page fills a list when it is opened, a turn of its loop after the click.
    await chat.locator(".name >> text=/^p_best$/").waitFor();
  });

  test("has a guide whose pages and headings are found", async () => {
    const page = await demo.openPath("docs/api");
    expect(await page.locator("h1").textContent()).toBe("API");
    await page.locator("main >> text=errors.md").click();
    await page.waitForURL("**/docs/errors");
    expect(await page.locator("h1").textContent()).toBe("Errors");
    const links = [...(await guidePages()).values()].flatMap((html) => [
      ...html.matchAll(/href="([\w-]+)(?:#([\w-]+))?"/g),
    ]);
    const pages = await guidePages();
    const broken = links.filter(([, name, heading]) => {
      const html = pages.get(`docs/${name}.html`);
      return html === undefined || (heading !== undefined && !html.includes(`id="${heading}"`));
    });
    expect(links.length).toBeGreaterThan(20);
    expect(broken.map(([link]) => link)).toEqual([]);
  });
});
