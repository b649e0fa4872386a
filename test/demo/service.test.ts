import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { type Stack, startStack } from "../../scripts/stack.ts";
import { CHROMIUM } from "./browser.ts";

if (CHROMIUM === null) console.warn("Skipped: the demo page in workerd, because no Chromium was found.");

/** The page as the edge serves it, before a gpu-worker with the committed model. */
describe.skipIf(CHROMIUM === null)("the demo page over the whole service", () => {
  let assetsDir: string;
  let stack: Stack;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    assetsDir = await mkdtemp(join(tmpdir(), "foredraft-demo-"));
    stack = await startStack({ bundle: "tiny", bundleDir: await ensureBundle("tiny"), assetsDir });
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
    page = await browser.newPage();
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
  });
  afterAll(async () => {
    await browser?.close();
    await stack?.close();
    await rm(assetsDir, { recursive: true, force: true });
  });

  test("is served under a policy that lets nothing in from elsewhere", async () => {
    const response = await page.goto(stack.edge.url);
    expect(response?.status()).toBe(200);
    expect(await response?.headerValue("content-security-policy")).toMatch(/^default-src 'none'/);
  });

  test("takes the model's own settings as its defaults", async () => {
    const response = await fetch(`${stack.edge.url}/v1/models`);
    const { speculation, notice } = ((await response.json()) as { data: [{ speculation: Defaults; notice: string }] })
      .data[0];
    await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[name=model]")?.value === "tiny");
    expect(await page.textContent("#notice")).toBe(notice);
    // As the edge does: without a pack there is nothing to refine with.
    const type = speculation.packs.length > 0 ? speculation.defaults.rescorer.type : "none";
    expect(await page.inputValue("[name=type]")).toBe(type);
    expect(await page.locator("[name=heads] option").count()).toBe(speculation.heads + 1);
    expect(await page.locator("[name=lm] option").count()).toBe(speculation.packs.length);
  });

  test("shows drafted and accepted tokens of a real answer", async () => {
    await page.fill("#prompt", "Tell me about the sea.");
    await page.fill("[name=max]", "64");
    await page.selectOption("[name=heads]", "4");
    await page.click("#run");
    await page.waitForFunction(() => document.querySelector("#status")?.textContent?.startsWith("Done"));
    expect(await page.locator(".block .accepted").count()).toBeGreaterThan(0);
    await page.hover(".block:has(.accepted) >> nth=0");
    expect(await page.textContent(".inspector-title")).toMatch(/^Block \d+: [1-9]\d* of \d+ drafted tokens? accepted/);
    expect(await page.locator("#inspector .token.accepted").count()).toBeGreaterThan(0);
  });

  test.each([
    ["greedy", "0"],
    ["sampled with a seed", "0.9"],
  ])("gets the same text in blocks and plain, %s", async (_, temperature) => {
    await page.fill("[name=t]", temperature);
    await page.fill("[name=seed]", "11");
    await page.click("#compare");
    await page.waitForSelector("#verdict:visible");
    expect(await page.textContent("#verdict-headline")).toMatch(/^Identical text/);
    const [blocks, plain] = await page.locator(".text").allTextContents();
    expect(blocks?.length).toBeGreaterThan(0);
    expect(blocks).toBe(plain);
  });

  test("broke no rule of the browser on the way", () => {
    expect(complaints).toEqual([]);
  });
});

interface Defaults {
  readonly heads: number;
  readonly packs: readonly unknown[];
  readonly defaults: { readonly rescorer: { readonly type: string } };
}
