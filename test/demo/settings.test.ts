import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { parseChat } from "../../edge/openai/params.ts";
import { CHROMIUM } from "./browser.ts";
import { startFake } from "./fake-server.ts";
import { demoPages, follow, run, text } from "./page.ts";

/** What the page asks of a fake API, by what the reader sets. */
describe.skipIf(CHROMIUM === null)("the demo page's settings", () => {
  const demo = demoPages();
  const last = () => demo.server.asked.at(-1);

  test("are left to the server where they are as it has them", async () => {
    const page = await demo.open();
    await run(page, "Why?");
    expect(last()).toEqual({
      model: "toy",
      messages: [{ role: "user", content: "Why?" }],
      max_tokens: 192,
      temperature: 0,
      seed: 0,
      stream: true,
      stream_options: { include_usage: true },
      speculation: { trace: true, receipt: true },
    });
    expect(() => parseChat(last())).not.toThrow();
  });

  test("are sent where they differ", async () => {
    const page = await demo.open();
    await page.selectOption("[name=heads]", "4");
    await page.fill("[name=nodes]", "12");
    await page.fill("[name=k]", "5");
    await page.selectOption("[name=type]", "none");
    await page.selectOption("[name=at]", "gpu");
    await run(page, "Why?");
    expect(last()?.speculation).toEqual({
      trace: true,
      receipt: true,
      heads: 4,
      top_k: 5,
      max_nodes: 12,
      rescorer: { type: "none" },
      placement: "gpu",
    });
    expect(await text(page, "#figures")).toContain("Drafted ?gpu");
  });

  test("of rescorers are those that the server lists, also of one the page has never heard of", async () => {
    const page = await demo.open();
    const names = () => page.locator("#settings [name]").evaluateAll((all) => all.map((f) => f.getAttribute("name")));
    expect(await names()).toEqual(["r-model", "r-order", "r-alpha", "r-prompt", "r-p_best"]);
    await page.selectOption("[name=type]", "tree");
    expect(await names()).toEqual(["r-model", "r-order", "r-alpha", "r-prompt"]);
    await page.check("[name=r-prompt]");
    await run(page, "Why?");
    expect(last()?.speculation.rescorer).toEqual({ type: "tree", prompt: true });

    await page.selectOption("[name=type]", "novel");
    expect(await names()).toEqual(["r-reach", "r-kind", "r-bold"]);
    expect(await text(page, "#type-summary")).toBe("Drafts something else.");
    await page.fill("[name=r-reach]", "7");
    await page.selectOption("[name=r-kind]", "far");
    await page.uncheck("[name=r-bold]");
    await run(page, "Why?");
    expect(last()?.speculation.rescorer).toEqual({ type: "novel", reach: 7, kind: "far", bold: false });

    await run(page, "bad reach");
    expect(await text(page, "#fault")).toBe("Invalid 'reach': at most 3 here.");
    expect(await page.getAttribute("[name=r-reach]", "aria-invalid")).toBe("true");
  });

  test("keep to the order of the chosen pack", async () => {
    const page = await demo.open();
    await page.selectOption("[name=r-model]", "small");
    await run(page, "Why?");
    expect(last()?.speculation.rescorer).toEqual({ type: "ngram", model: "small", order: 2 });
  });

  test("stand in the address, which repeats a run; the API key never does", async () => {
    const page = await demo.open();
    await page.click("#system-part summary");
    await page.fill("#system", "Be brief.");
    await page.fill("#prompt", "Why & how?");
    await page.fill("[name=t]", "0.8");
    await page.fill("[name=seed]", "");
    await page.selectOption("[name=form]", "choice");
    await page.fill("[name=shape]", "yes\nno");
    await page.selectOption("[name=type]", "tree");
    await page.fill("[name=r-alpha]", "0.8");
    await page.check("[name=r-prompt]");
    await page.selectOption("[name=streams]", "2");
    await page.fill("#key", "secret");
    expect(page.url()).not.toContain("secret");
    await page.click("#run");
    await page.waitForSelector("#run:visible");
    const [asked] = demo.server.asked;
    expect(asked).toMatchObject({ guided: { choice: ["yes", "no"] } });

    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.click(".pane-actions >> text=Copy link");
    const link = await page.evaluate(() => navigator.clipboard.readText());
    const copy = await demo.open({}, new URL(link).hash);
    expect(await copy.inputValue("[name=streams]")).toBe("2");
    await copy.click("#run");
    await copy.waitForSelector("#run:visible");
    // The seed was drawn for the first run; the link has it.
    expect(demo.server.asked[0]).toEqual(asked);
  });

  test("at fault are refused before asking, and say so at their field", async () => {
    const page = await demo.open();
    await page.click("#run");
    expect(await text(page, "#error")).toBe("Type a prompt first.");
    await page.fill("[name=max]", "0");
    await run(page, "Why?");
    expect(await text(page, "#error")).toMatch(/^Max tokens: /);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("max");
    const boxOf = async (selector: string) => (await page.locator(selector).boundingBox())!;
    const [fault, field, next] = [await boxOf("#fault"), await boxOf("#max"), await boxOf("#t")];
    expect(fault.width).toBeGreaterThan(2 * field.width);
    expect(fault.y).toBeGreaterThan(field.y);
    expect(next.y).toBe(field.y);
    await page.fill("[name=max]", "10");
    expect(await page.locator("#fault").count()).toBe(0);
    await page.selectOption("[name=form]", "schema");
    await page.fill("[name=shape]", "{");
    await run(page, "Why?");
    expect(await text(page, "#error")).toMatch(/^JSON schema: This is not JSON/);
    expect(demo.server.asked).toEqual([]);
  });

  test("that the server refuses are shown at their field, too", async () => {
    const page = await demo.open();
    await page.click("#options summary");
    await run(page, "too long");
    expect(await text(page, ".pane-end")).toBe("Invalid 'max_tokens': too many.");
    expect(await text(page, "#fault")).toBe("Invalid 'max_tokens': too many.");
    expect(await page.locator("[name=max]").isVisible()).toBe(true);
  });

  test("of the answer's form are ones that the API takes, and JSON is checked", async () => {
    const page = await demo.open();
    for (const form of ["json", "schema", "regex", "choice", "tools"]) {
      await page.selectOption("[name=form]", form);
      await run(page, form === "regex" ? "Why?" : "JSON");
      expect(() => parseChat(last()), form).not.toThrow();
      expect(Object.keys(last()!)).toContain(
        { json: "response_format", schema: "response_format", tools: "tools" }[form] ?? "guided",
      );
      const isJson = form === "json" || form === "schema";
      expect(await page.locator(".pane-end").isVisible()).toBe(isJson);
      if (isJson) expect(await text(page, ".pane-end")).toBe("Valid JSON.");
    }
    await page.selectOption("[name=form]", "json");
    await run(page, "Why?");
    expect(await text(page, ".pane-end")).toBe("This is not valid JSON.");
  });

  test("of a tool lead to its call, and on from what it returns", async () => {
    const page = await demo.open();
    await page.click(".chip >> text=Tool");
    await page.click("#run");
    await page.waitForSelector("#run:visible");
    expect(await text(page, ".tool-call")).toBe('get_weather({"city": "Rome"})');
    expect(await text(page, "#follow-label")).toBe("What get_weather returns");
    await follow(page, '{"sky": "clear"}');
    expect(() => parseChat(last())).not.toThrow();
    expect(last()?.tool_choice).toBe("none");
    expect(last()?.messages.slice(1)).toEqual([
      {
        role: "assistant",
        content: null,
        tool_calls: [
          { id: "call_1", type: "function", function: { name: "get_weather", arguments: '{"city": "Rome"}' } },
        ],
      },
      { role: "tool", tool_call_id: "call_1", content: '{"sky": "clear"}' },
    ]);
    expect(await text(page, ".asked")).toBe('get_weather returned: {"sky": "clear"}');
  });

  test("of load run copies with seeds of their own beside the answer", async () => {
    const page = await demo.open();
    await page.selectOption("[name=streams]", "4");
    await run(page, "Why?");
    expect(demo.server.asked.map(({ seed }) => seed).sort()).toEqual([0, 1, 2, 3]);
    expect(demo.server.most()).toBe(4);
    expect(await text(page, ".pane-figures")).toMatch(/ · 4 streams together: \d+\.\d tokens\/s$/);
    await run(page, "refuse");
    expect(await text(page, ".pane-end")).toBe("Too many requests: try again later.");
  });

  test("move to an edge at another distance where the server has some, and come along", async () => {
    const page = await demo.open();
    expect(await page.locator("#distance-field").isVisible()).toBe(false);
    const { port } = new URL(demo.server.url);
    const other = await startFake({ stepMs: 1 });
    const otherPort = new URL(other.url).port;
    for (const server of [demo.server, other]) server.distances = `0=${port},40=${otherPort}`;
    demo.allow(other.url);
    const near = await demo.open();
    expect(await near.locator("#distance option").allTextContents()).toEqual(["0 ms", "40 ms"]);
    expect(await near.inputValue("#distance")).toBe(port);
    await near.fill("#prompt", "Why?");
    await near.selectOption("#distance", "40 ms");
    await near.waitForURL(`${other.url}/**`);
    await near.waitForFunction(() => document.querySelector<HTMLSelectElement>("[name=model]")?.value === "toy");
    expect(await near.inputValue("#distance")).toBe(otherPort);
    await near.click("#run");
    await near.waitForSelector("#run:visible");
    expect(other.asked[0]?.messages).toEqual([{ role: "user", content: "Why?" }]);
    demo.server.distances = null;
    await near.close();
    await other.close();
  });

  test("make a curl line that a shell reads back as the request", async () => {
    const page = await demo.open();
    await page.selectOption("[name=type]", "none");
    await run(page, `What's "this", $HOME?`);
    await page.click(".pane-actions >> text=Show as curl");
    const line = (await text(page, "#curl-text"))!;
    const args = execFileSync("bash", ["-c", `curl() { printf '%s\\0' "$@"; }; ${line}`])
      .toString()
      .split("\0");
    expect(args[1]).toBe(`${demo.server.url}/v1/chat/completions`);
    const body = JSON.parse(args[args.indexOf("-d") + 1]!);
    expect(body.messages).toEqual([{ role: "user", content: `What's "this", $HOME?` }]);
    expect(body.speculation).toEqual({ rescorer: { type: "none" } });
    expect(() => parseChat(body)).not.toThrow();
  });
});
