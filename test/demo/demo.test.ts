import { describe, expect, test } from "vitest";
import { CHROMIUM } from "./browser.ts";
import { compare, demoPages, follow, run, text } from "./page.ts";

if (CHROMIUM === null)
  console.warn("Skipped: the demo page, because no Chromium was found (set CHROMIUM to its path).");

/** The page over a fake API: what it shows, whatever model there is. */
describe.skipIf(CHROMIUM === null)("the demo page", () => {
  const demo = demoPages();

  test("shows the answer block by block, with its figures", async () => {
    const page = await demo.open();
    await run(page, "Why is the sky blue?");
    expect(await text(page, ".text")).toMatch(/^The sky looks blue because[\s\S]*before the light arrives\.$/);
    // The third block of the fake's text, split into what was drafted and what the model added.
    expect(await text(page, ".block:nth-child(3) .accepted")).toBe("because air scatters short ");
    expect(await text(page, ".block:nth-child(3) .bonus")).toBe("wavelengths");
    expect(await text(page, "#figures")).toMatch(/Block efficiency \?3\.\d\d/);
    expect(await text(page, "#figures")).toContain("Drafted ?edge round trip 12.3 ms");
    expect(await text(page, "#figures")).toContain("Prompt ?40 tokens, 0 cached");
    expect(await page.locator("#positions .bar").count()).toBe(6);
    expect(await text(page, "#status")).toMatch(/^Done: \d+ tokens/);
    expect(await page.locator(".pane-end").isVisible()).toBe(false);
  });

  test("shows what refinement was worth, and where the tokens came from", async () => {
    const page = await demo.open();
    expect(await page.locator("#receipt").isVisible()).toBe(false);
    await run(page, "Why?");
    expect(await page.locator(".worth li").allTextContents()).toEqual(["unrefined2.10", "refined3.20", "best4.25"]);
    expect(await page.locator(".source-legend li").allTextContents()).toEqual([
      "heads’ first choice 40",
      "heads’ lower choices 20",
      "copied 8",
      // A source that the page has no word for goes by its own name.
      "novel 3",
      "the model’s own 31",
    ]);
  });

  test("shows on hover what a block was drafted from", async () => {
    const page = await demo.open();
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

  test("holds the card of a clicked block, however large its draft, to be scrolled to its end", async () => {
    const page = await demo.open();
    await run(page, "deep");
    await page.hover(".block:nth-child(3)");
    expect(await page.locator(".hold-hint").isVisible()).toBe(true);
    await page.click(".block:nth-child(3)");
    const card = page.locator("#inspector");
    expect(await card.locator(".token").count()).toBe(64);
    await page.mouse.move(5, 5);
    for (const token of [card.locator(".token").last(), card.locator(".token").first()]) {
      await token.scrollIntoViewIfNeeded();
      const [box, frame] = [(await token.boundingBox())!, (await card.boundingBox())!];
      expect(box.x).toBeGreaterThanOrEqual(frame.x);
      expect(box.x + box.width).toBeLessThanOrEqual(frame.x + frame.width);
      expect(box.y + box.height).toBeLessThanOrEqual(frame.y + frame.height);
    }
    // No line is wider than what stands in it, so the card is as narrow as it can be.
    const spare = await card.locator(".chain, .ends").evaluateAll((lines) =>
      lines.map((line) => {
        const ends = [...line.children].map((token) => token.getBoundingClientRect().right);
        return line.getBoundingClientRect().right - Math.max(...ends);
      }),
    );
    expect(Math.max(...spare)).toBeLessThan(5);
    const frame = (await card.boundingBox())!;
    expect(frame.y).toBeGreaterThanOrEqual(0);
    expect(frame.y + frame.height).toBeLessThanOrEqual(800);
    await page.keyboard.press("Escape");
    expect(await card.isVisible()).toBe(false);
  });

  test("works by keyboard alone", async () => {
    const page = await demo.open();
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
    await page.keyboard.press("Enter");
    expect(await focused()).toBe("inspector held");
    await page.keyboard.press("Escape");
    expect(await focused()).toBe("block");
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Escape");
    expect(await page.locator("#inspector").isVisible()).toBe(false);
    // The whole answer is one stop: the next Tab leaves it.
    await page.keyboard.press("Tab");
    expect(await focused()).not.toBe("block");
  });

  test("runs the same prompt both ways, one after the other, and says whether the texts agree", async () => {
    const page = await demo.open();
    await compare(page);
    expect(demo.server.asked.map(({ speculation }) => speculation.enabled ?? true)).toEqual([true, false]);
    const [first, second] = demo.server.asked;
    expect(second).toEqual({ ...first, speculation: { enabled: false, trace: true } });
    const [blocks, plain] = await page.locator(".text").allTextContents();
    expect(blocks).toBe(plain);
    expect(await text(page, "#verdict-headline")).toMatch(/^Identical text, \d+\.\d\d× the speed\.$/);

    await page.click("#replay");
    await page.waitForFunction(() => document.querySelector("#status")?.textContent === "Replay finished.");
    expect(await page.locator(".text").allTextContents()).toEqual([plain, plain]);
    expect(demo.server.asked.length).toBe(2);
  });

  test("compares with one seed where none is given, and says which", async () => {
    const page = await demo.open();
    await page.fill("[name=t]", "0.8");
    await page.fill("[name=seed]", "");
    await compare(page);
    const [first, second] = demo.server.asked.map(({ seed }) => seed);
    expect(first).toBeTypeOf("number");
    expect(second).toBe(first);
    expect(await text(page, "#verdict-detail")).toContain(`Both with seed ${first}.`);
    await run(page, "Why?");
    expect(demo.server.asked[2]?.seed).not.toBe(first);
  });

  test("stops on request, on the server too", async () => {
    const page = await demo.open();
    const before = demo.server.abandoned();
    await page.fill("#prompt", "endless");
    await page.click("#run");
    await page.waitForSelector(".block:nth-child(4)");
    await page.click("#stop");
    await page.waitForSelector("#run:visible");
    expect(await text(page, "#status")).toBe("Stopped.");
    expect(await text(page, ".pane-end")).toBe("Stopped before its end.");
    await expect.poll(() => demo.server.abandoned()).toBe(before + 1);
  });

  test("shows errors where the answer would be, never waits after one, and goes on working", async () => {
    const page = await demo.open();
    await run(page, "refuse");
    expect(await text(page, ".pane-end")).toBe("Too many requests: try again later.");
    expect(await text(page, ".pane")).not.toContain("waiting");
    await run(page, "break");
    expect(await text(page, ".pane-end")).toBe("The engine was lost.");
    expect(await page.locator(".block").count()).toBe(4);
    expect(await text(page, ".pane-figures")).toMatch(/^\d+ tokens/);
    await run(page, "Why?");
    expect(await page.locator(".pane-end").isVisible()).toBe(false);
  });

  test("marks an answer that was cut", async () => {
    const page = await demo.open();
    await run(page, "cut");
    expect(await text(page, ".pane-end")).toMatch(/^Cut here, at the limit of \d+ tokens\./);
  });

  test("goes on with the conversation, and says what of it had been read before", async () => {
    const page = await demo.open();
    await page.click("#system-part summary");
    await page.fill("#system", "Be brief.");
    await run(page, "Why?");
    await follow(page, "And at night?");
    const [first, second] = demo.server.asked;
    expect(first?.messages).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "Why?" },
    ]);
    const answer = await page.locator(".text").first().textContent();
    expect(second?.messages).toEqual([
      ...first!.messages,
      { role: "assistant", content: answer },
      { role: "user", content: "And at night?" },
    ]);
    expect(await page.locator(".text").count()).toBe(2);
    expect(await text(page, ".asked")).toBe("You: And at night?");
    expect(await text(page, "#figures")).toContain("Prompt ?140 tokens, 96 cached");

    // A turn that failed is no part of it, and what was typed is still there.
    await follow(page, "refuse");
    expect(await page.inputValue("#follow-text")).toBe("refuse");
    await follow(page, "Go on.");
    expect(demo.server.asked.at(-1)?.messages.map(({ role }) => role)).toEqual([
      "system",
      ...["user", "assistant"],
      ...["user", "assistant"],
      "user",
    ]);
    await run(page, "Something else");
    expect(demo.server.asked.at(-1)?.messages.length).toBe(2);
    expect(await page.locator(".text").count()).toBe(1);
  });

  test("explains its words where they stand", async () => {
    const page = await demo.open();
    await page.click('[data-term="block efficiency"]');
    expect(await text(page, "#explanation")).toMatch(/^Tokens committed per model call/);
    await page.keyboard.press("Escape");
    expect(await page.locator("#explanation").isVisible()).toBe(false);
    const unexplained = await page
      .locator(".help")
      .evaluateAll((buttons) => buttons.filter((b) => !/[.]$/.test(b.getAttribute("aria-label") ?? "")).length);
    expect(unexplained).toBe(0);
  });
});
