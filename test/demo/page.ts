import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { CHROMIUM } from "./browser.ts";
import { type FakeServer, startFake } from "./fake-server.ts";

export const PHONE: BrowserContextOptions = { viewport: { width: 360, height: 700 }, isMobile: true, hasTouch: true };

export interface DemoPages {
  /** Over the fake API. */
  readonly server: FakeServer;
  /** A fresh one, with the models listed and nothing asked yet. */
  open(options?: BrowserContextOptions, hash?: string): Promise<Page>;
  /** Lets pages ask of another origin as well. */
  allow(origin: string): void;
  /** Another page of the same site. */
  openPath(path: string, options?: BrowserContextOptions): Promise<Page>;
}

/** Server and browser for the tests of a describe block. After each test its pages must not have complained. */
export function demoPages(): DemoPages {
  let server: FakeServer;
  let browser: Browser;
  /** What the browser complained about, e.g. a broken content security policy. */
  const complaints: string[] = [];
  const allowed: string[] = [];

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

  async function openPath(path: string, options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      // A refused request is logged by the browser itself; the page shows it in its own words.
      if (message.type() === "error" && !/status of 4(29|00)/.test(message.text())) complaints.push(message.text());
    });
    page.on("request", (request) => {
      if (![server.url, ...allowed].some((origin) => request.url().startsWith(origin)))
        complaints.push(`outside request: ${request.url()}`);
    });
    await page.goto(`${server.url}/${path}`);
    return page;
  }

  return {
    get server() {
      return server;
    },
    openPath,
    allow: (origin) => void allowed.push(origin),
    async open(options = {}, hash = "") {
      const page = await openPath(hash, options);
      await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[name=model]")?.value === "toy");
      server.asked.splice(0);
      return page;
    },
  };
}

export async function run(page: Page, prompt: string): Promise<void> {
  await page.fill("#prompt", prompt);
  await page.click("#run");
  await page.waitForSelector("#run:visible");
}

export async function compare(page: Page, prompt = "Why is the sky blue?"): Promise<void> {
  await page.fill("#prompt", prompt);
  await page.click("#compare");
  await page.waitForSelector("#verdict:visible");
}

export async function follow(page: Page, text: string): Promise<void> {
  await page.fill("#follow-text", text);
  await page.click("#send");
  await page.waitForSelector("#run:visible");
}

export function text(page: Page, selector: string): Promise<string | null> {
  return page.locator(selector).textContent();
}
