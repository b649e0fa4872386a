import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, poorContrast, sidewaysOverflow } from "./browser.ts";
import { type FakeServer, startFake } from "./fake-server.ts";

if (CHROMIUM === null)
  console.warn("Skipped: the demo page, because no Chromium was found (set CHROMIUM to its path).");

const PHONE: BrowserContextOptions = { viewport: { width: 360, height: 700 }, isMobile: true, hasTouch: true };

/** The page over a fake API: what it shows and sends, whatever model there is. */
describe.skipIf(CHROMIUM === null)("the demo page", () => {
  let server: FakeServer;
  let browser: Browser;
  /** What the browser complained about, e.g. a broken content security policy. */
  const complaints: string[] = [];

  beforeAll(async () => {
    server = await startFake({ stepMs: 5 });
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    expect(complaints.splice(0)).toEqual([]);
  });

  async function open(options: BrowserContextOptions = {}, hash = ""): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      // A refused request is logged by the browser itself; the page shows it in its own words.
      if (message.type() === "error" && !message.text().includes("429")) complaints.push(message.text());
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(server.url)) complaints.push(`outside request: ${request.url()}`);
    });
    await page.goto(`${server.url}/${hash}`);
    await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[name=model]")?.value === "toy");
    server.asked.splice(0);
    return page;
  }

  async function run(page: Page, prompt: string): Promise<void> {
    await page.fill("#prompt", prompt);
    await page.click("#run");
    await page.waitForSelector("#run:visible");
  }

  async function compare(page: Page): Promise<void> {
    await page.fill("#prompt", "Why is the sky blue?");
    await page.click("#compare");
    await page.waitForSelector("#verdict:visible");
  }

  const text = (page: Page, selector: string) => page.locator(selector).textContent();

  test("shows the answer block by block, with its figures", async () => {
    const page = await open();
    await page.fill("#prompt", "Why is the sky blue?");
    await page.click("#run");
    await page.waitForSelector(".block:nth-child(3)");
    expect(await page.locator("#stop").isVisible()).toBe(true);
    await page.waitForSelector("#run:visible");

    expect(await text(page, ".text")).toMatch(/^The sky looks blue because[\s\S]*before the light arrives\.$/);
    // The third block of the fake's text, split into what was drafted and what the model added.
    expect(await text(page, ".block:nth-child(3) .accepted")).toBe("because air scatters short ");
    expect(await text(page, ".block:nth-child(3) .bonus")).toBe("wavelengths");
    expect(await text(page, "#figures")).toMatch(/Block efficiency3\.\d\d/);
    expect(await text(page, "#figures")).toContain("Draftededge round trip 12.3 ms");
    expect(await page.locator("#positions .bar").count()).toBe(6);
    expect(await text(page, "#status")).toMatch(/^Done: \d+ tokens/);
  });

  test("shows on hover what a block was drafted from", async () => {
    const page = await open();
    await run(page, "Why is the sky blue?");
    await page.hover(".block:nth-child(3)");
    const card = page.locator("#inspector");
    expect(await card.locator(".inspector-title").textContent()).toContain("4 of 9 drafted tokens accepted");
    expect(await card.locator(".token.accepted").count()).toBe(4);
    expect(await card.locator(".token.bonus").textContent()).toContain("·wavelengths");
    expect(await card.locator(".token.rejected").count()).toBe(5);
    await page.mouse.move(5, 5);
    expect(await card.isVisible()).toBe(false);
  });

  test("works by keyboard alone", async () => {
    const page = await open();
    await page.focus("#prompt");
    await page.keyboard.type("Why?");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("#status")?.textContent?.startsWith("Done"));
    const focused = () => page.evaluate(() => document.activeElement?.className || document.activeElement?.id);
    for (let i = 0; i < 20 && (await focused()) !== "block"; i++) await page.keyboard.press("Tab");
    expect(await focused()).toBe("block");
    expect(await text(page, "#inspector")).toContain("Prefill");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    expect(await text(page, "#inspector")).toContain("Block 2");
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Escape");
    expect(await page.locator("#inspector").isVisible()).toBe(false);
    // The whole answer is one stop: the next Tab leaves it.
    await page.keyboard.press("Tab");
    expect(await focused()).not.toBe("block");
  });

  test("runs the same prompt both ways, one after the other, and says whether the texts agree", async () => {
    const page = await open();
    await compare(page);
    expect(server.asked.map(({ speculation }) => speculation.enabled ?? true)).toEqual([true, false]);
    expect(server.asked[1]).toMatchObject({ ...server.asked[0], speculation: { enabled: false } });
    const [blocks, plain] = await page.locator(".text").allTextContents();
    expect(blocks).toBe(plain);
    expect(await text(page, "#verdict-headline")).toMatch(/^Identical text, \d+\.\d\d× the speed\.$/);

    await page.click("#replay");
    await page.waitForFunction(() => document.querySelector("#status")?.textContent === "Replay finished.");
    expect(await page.locator(".text").allTextContents()).toEqual([plain, plain]);
    expect(server.asked.length).toBe(2);
  });

  test("drafts where the reader says", async () => {
    const page = await open();
    await page.selectOption("[name=at]", "gpu");
    await run(page, "Why?");
    expect(server.asked[0]?.speculation).toMatchObject({ placement: "gpu" });
    expect(await text(page, "#figures")).toContain("Draftedgpu");
    expect(page.url()).toContain("at=gpu");
  });

  test("stops on request, on the server too", async () => {
    const page = await open();
    const before = server.abandoned();
    await page.fill("#prompt", "endless");
    await page.click("#run");
    await page.waitForSelector(".block:nth-child(4)");
    await page.click("#stop");
    await page.waitForSelector("#run:visible");
    expect(await text(page, "#status")).toBe("Stopped.");
    await expect.poll(() => server.abandoned()).toBe(before + 1);
  });

  test("shows errors before and within an answer, and goes on working", async () => {
    const page = await open();
    await run(page, "refuse");
    expect(await text(page, "#error")).toBe("Too many requests: try again later.");
    await run(page, "break");
    expect(await text(page, "#error")).toBe("The engine was lost.");
    expect(await page.locator(".block").count()).toBe(4);
    await run(page, "Why?");
    expect(await page.locator("#error").isVisible()).toBe(false);
  });

  test("refuses an empty prompt and a number out of range before asking", async () => {
    const page = await open();
    await page.click("#run");
    expect(await text(page, "#error")).toBe("Type a prompt first.");
    await page.fill("[name=max]", "0");
    await run(page, "Why?");
    expect(await text(page, "#error")).toMatch(/^Max tokens: /);
    expect(server.asked).toEqual([]);
  });

  test("sends the chosen options, and leaves to the server what is set to auto", async () => {
    const page = await open();
    await run(page, "Why?");
    expect(server.asked[0]).toEqual({
      model: "toy",
      messages: [{ role: "user", content: "Why?" }],
      max_tokens: 192,
      temperature: 0,
      seed: 0,
      stream: true,
      speculation: {
        trace: true,
        top_k: 8,
        rescorer: { type: "ngram", model: "general", order: 3, alpha: 0.35, p_best: 2, prompt: false },
      },
    });
    await page.selectOption("[name=heads]", "4");
    await page.fill("[name=nodes]", "12");
    await page.selectOption("[name=type]", "none");
    await run(page, "Why?");
    expect(server.asked[1]?.speculation).toEqual({
      trace: true,
      heads: 4,
      top_k: 8,
      max_nodes: 12,
      rescorer: { type: "none" },
    });
    await page.selectOption("[name=type]", "tree");
    await page.check("[name=copy]");
    expect(await page.isDisabled("[name=pb]")).toBe(true);
    await run(page, "Why?");
    expect(server.asked[2]?.speculation).toMatchObject({
      rescorer: { type: "tree", model: "general", order: 3, alpha: 0.35, prompt: true },
    });
  });

  test("keeps its settings in the address, the API key never", async () => {
    const page = await open();
    await page.fill("#prompt", "Why & how?");
    await page.selectOption("[name=lm]", "small");
    await page.fill("[name=a]", "0.8");
    await page.check("[name=copy]");
    await page.fill("#key", "secret");
    const { hash } = new URL(page.url());
    expect(Object.fromEntries(new URLSearchParams(hash.slice(1)))).toEqual({
      prompt: "Why & how?",
      lm: "small",
      order: "2",
      a: "0.8",
      copy: "1",
    });
    const copy = await open({}, hash);
    expect(await copy.inputValue("#prompt")).toBe("Why & how?");
    await copy.click("#run");
    await copy.waitForSelector("#run:visible");
    expect(server.asked[0]?.speculation.rescorer).toEqual({
      type: "ngram",
      model: "small",
      order: 2,
      alpha: 0.8,
      p_best: 2,
      prompt: true,
    });
  });

  test("the neural rescorer is asked for with its own usual weight", async () => {
    const page = await open();
    await page.fill("#prompt", "Why?");
    await page.selectOption("[name=type]", "neural");
    expect(await page.isDisabled("[name=lm]")).toBe(true);
    await page.click("#run");
    await page.waitForSelector("#run:visible");
    expect(server.asked[0]?.speculation.rescorer).toEqual({ type: "neural", alpha: 0.6 });
  });

  test("fits a phone, with the card of a tapped block docked in view", async () => {
    const page = await open(PHONE);
    expect(await sidewaysOverflow(page)).toBe(0);
    await compare(page);
    expect(await sidewaysOverflow(page)).toBe(0);
    await page.tap(".block:nth-child(3)");
    const box = (await page.locator("#inspector").boundingBox())!;
    expect(box.x).toBeGreaterThanOrEqual(0);
    expect(box.x + box.width).toBeLessThanOrEqual(360);
    expect(box.y + box.height).toBeLessThanOrEqual(700);
    await page.click("summary");
    expect(await sidewaysOverflow(page)).toBe(0);
  });

  test.each(["light", "dark"] as const)("is readable in %s mode", async (colorScheme) => {
    const page = await open({ colorScheme });
    await page.fill("#prompt", "refuse");
    await page.click("#run");
    await page.waitForSelector("#error:visible");
    expect(await poorContrast(page)).toEqual([]);
    await compare(page);
    await page.hover(".block:nth-child(3)");
    expect(await poorContrast(page)).toEqual([]);
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    expect(paper).toBe(colorScheme === "dark" ? "rgb(23, 22, 20)" : "rgb(250, 249, 246)");
  });
});
