import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { type Stack, startStack } from "../../scripts/stack.ts";
import { type RescorerType, rescorerModule } from "../../shared/rescore/index.ts";
import { type ParamName, wireName } from "../../shared/rescore/params.ts";
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
    stack = await startStack({ bundle: "tiny", bundleDir: await ensureBundle("tiny"), assetsDir, distances: [30] });
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
    page = await browser.newPage();
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
  });
  // Every test finds the page as whoever opens it does.
  beforeEach(async () => {
    await page.goto(stack.edge.url);
    await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[name=model]")?.value === "tiny");
  });
  afterEach(() => {
    expect(complaints, "what the browser complained of").toEqual([]);
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
    expect(await page.textContent("#notice")).toBe(notice);
    // As the edge does: without a pack there is nothing to refine with.
    const type = speculation.packs.length > 0 ? speculation.defaults.rescorer.type : "none";
    expect(await page.inputValue("[name=type]")).toBe(type);
    expect(await page.locator("[name=heads] option").count()).toBe(speculation.heads + 1);
    expect(await page.locator("[name=r-model] option").count()).toBe(speculation.packs.length);
  });

  test("has a field for every setting of every rescorer that the server lists", async () => {
    const response = await fetch(`${stack.edge.url}/v1/models`);
    const [{ speculation }] = ((await response.json()) as { data: [{ speculation: Settings }] }).data;
    const usual = await page.inputValue("[name=type]");
    for (const [type, { settings }] of Object.entries(speculation.rescorer_settings)) {
      const expected = Object.keys(rescorerModule(type as RescorerType).paramsSchema.shape).map((name) =>
        wireName(name as ParamName),
      );
      expect(
        Object.keys(settings)
          .filter((name) => name !== "model")
          .sort(),
      ).toEqual(expected.sort());
      await page.selectOption("[name=type]", type);
      const names = await page.locator("#settings [name]").evaluateAll((all) => all.map((f) => f.getAttribute("name")));
      expect(names).toEqual(Object.keys(settings).map((name) => `r-${name}`));
    }
    await page.selectOption("[name=type]", usual);
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
    await page.fill("#prompt", "Tell me about the sea.");
    await page.fill("[name=max]", "64");
    await page.fill("[name=t]", temperature);
    await page.fill("[name=seed]", "11");
    await page.click("#compare");
    await page.waitForSelector("#verdict:visible");
    expect(await page.textContent("#verdict-headline")).toMatch(/^Identical text/);
    const [blocks, plain] = await page.locator(".text").allTextContents();
    expect(blocks?.length).toBeGreaterThan(0);
    expect(blocks).toBe(plain);
  });

  test("calls a tool that the page offers as its example, with arguments that the schema allows", async () => {
    await page.selectOption("[name=form]", "tools");
    await page.fill("#prompt", "Tell me about the sea.");
    await page.fill("[name=t]", "0.9");
    await page.fill("[name=seed]", "11");
    await page.fill("[name=max]", "200");
    await page.click("#run");
    await page.waitForFunction(() => document.querySelector("#status")?.textContent?.startsWith("Done"));
    expect(await page.textContent(".tool-call")).toMatch(
      /^get_weather\(\{"city": ".*", "unit": "(celsius|fahrenheit)"\}\)$/,
    );
    expect(await page.locator(".worth li").count()).toBe(3);
  });

  test("goes on from what it has read, and moves to an edge that is farther away", async () => {
    await page.selectOption("[name=form]", "free");
    await page.fill("[name=max]", "24");
    await page.fill("#prompt", "Tell me about the sea and what swims in it, from the largest to the smallest.");
    await page.click("#run");
    await page.waitForSelector("#follow-text:visible");
    await page.fill("#follow-text", "And on land?");
    await page.click("#send");
    await page.waitForSelector("#follow-text:visible");
    expect(await page.textContent("#figures")).toMatch(/tokens, [1-9]\d* cached/);
    await page.selectOption("#distance", "30 ms");
    await page.waitForURL((url) => url.port !== new URL(stack.edge.url).port);
    await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[name=model]")?.value === "tiny");
    await page.selectOption("[name=at]", "edge");
    await page.click("#run");
    await page.waitForFunction(() => document.querySelector("#status")?.textContent?.startsWith("Done"));
    const [, roundTrip] = /round trip ([\d.]+) ms/.exec((await page.textContent("#figures")) ?? "") ?? [];
    expect(Number(roundTrip)).toBeGreaterThanOrEqual(30);
  });

  test.each(["reference", "docs/api", "report"])("has /%s beside it", async (path) => {
    const response = await page.goto(`${stack.edge.url}/${path}`);
    expect(response?.status()).toBe(200);
    expect(await response?.headerValue("content-security-policy")).toMatch(/^default-src 'none'/);
    expect(await page.locator("h1").count()).toBe(1);
    // A style that the policy kept out would have left the browser's own font.
    expect(await page.evaluate(() => getComputedStyle(document.body).fontFamily)).toMatch(/sans/);
  });
});

interface Settings {
  readonly rescorer_settings: Readonly<Record<string, { readonly settings: object }>>;
}

interface Defaults {
  readonly heads: number;
  readonly packs: readonly unknown[];
  readonly defaults: { readonly rescorer: { readonly type: string } };
}
