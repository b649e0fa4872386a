import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseEvalOptions } from "../../bench/eval/options.ts";
import { parseRow, readRows } from "../../bench/eval/rows.ts";

const ALL = { split: null, limit: null, perCategory: null };
let dir = "";

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-rows-"));
  const lines = Array.from({ length: 9 }, (_, i) =>
    JSON.stringify({
      id: `a/${i}`,
      category: i < 6 ? "qa" : "math",
      split: i % 3 === 0 ? "tune" : "test",
      prompt: `p${i}`,
    }),
  );
  await writeFile(join(dir, "a.jsonl"), `${lines.join("\n")}\n\n`);
  await writeFile(join(dir, "b.jsonl"), '{"turns":["ü – one","two"]}\r\n');
  execFileSync("xz", ["-k", join(dir, "a.jsonl")]);
});

afterAll(() => rm(dir, { recursive: true, force: true }));

describe("rows", () => {
  test("come from several files in order, blank lines left out", async () => {
    const rows = await readRows([join(dir, "a.jsonl"), join(dir, "b.jsonl")], ALL);
    expect(rows).toHaveLength(10);
    expect(rows[9]).toEqual({
      references: [],
      id: "b.jsonl/1",
      category: "all",
      split: null,
      input: { kind: "chat", before: [], turns: ["ü – one", "two"] },
    });
  });

  test("of an .xz file are the same, also when reading stops early", async () => {
    const plain = await readRows([join(dir, "a.jsonl")], ALL);
    expect(await readRows([join(dir, "a.jsonl.xz")], ALL)).toEqual(plain);
    expect(await readRows([join(dir, "a.jsonl.xz")], { ...ALL, limit: 2 })).toEqual(plain.slice(0, 2));
  });

  test("are chosen by split, number and number per category", async () => {
    const path = [join(dir, "a.jsonl")];
    expect((await readRows(path, { ...ALL, split: "tune" })).map((row) => row.id)).toEqual(["a/0", "a/3", "a/6"]);
    expect((await readRows(path, { ...ALL, perCategory: 1 })).map((row) => row.id)).toEqual(["a/0", "a/6"]);
    expect((await readRows(path, { ...ALL, split: "test", perCategory: 3, limit: 4 })).map((row) => row.id)).toEqual([
      "a/1",
      "a/2",
      "a/4",
      "a/7",
    ]);
  });

  test("a missing or damaged file is an error", async () => {
    await expect(readRows([join(dir, "none.jsonl")], ALL)).rejects.toThrow("none.jsonl");
    await writeFile(join(dir, "bad.jsonl.xz"), "not xz");
    await expect(readRows([join(dir, "bad.jsonl.xz")], ALL)).rejects.toThrow("bad.jsonl.xz");
  });

  test("messages end with the user's", () => {
    const messages = [
      { role: "system", content: "be brief" },
      { role: "user", content: "hi" },
    ];
    const row = parseRow(JSON.stringify({ messages }), "f:1", "x");
    expect(row.input).toEqual({ kind: "chat", before: [messages[0]], turns: ["hi"] });
    const answered = [...messages, { role: "assistant", content: "yes" }];
    expect(() => parseRow(JSON.stringify({ messages: answered }), "f:1", "x")).toThrow("f:1: messages");
  });

  test.each([
    ["{", "not JSON"],
    ["[]", "f:3"],
    ["{}", "exactly one of"],
    ['{"prompt":"a","turns":["b"]}', "exactly one of"],
    ['{"prompt":""}', "prompt"],
    ['{"turns":[]}', "turns"],
    ['{"turns":[1]}', "turns.0"],
    ['{"messages":[{"role":"tool","content":""}]}', "messages.0.role"],
  ])("%s is refused by place and field", (line, words) => {
    expect(() => parseRow(line, "f:3", "x")).toThrow(words);
  });
});

describe("options", () => {
  test("have the contract's defaults", () => {
    expect(parseEvalOptions(["--prompts", "a", "--prompts", "b", "--json"])).toMatchObject({
      prompts: ["a", "b"],
      json: true,
      limit: null,
      maxTokens: null,
      methods: expect.arrayContaining(["ar", "none", "ngram-4"]),
    });
    expect(parseEvalOptions(["--help"])).toBeNull();
  });

  test.each([
    [[], "--prompts"],
    [["--prompts", "a", "--limit", "0"], "--limit"],
    [["--prompts", "a", "--max-tokens", "1.5"], "--max-tokens"],
    [["--prompts", "a", "--alpha", "1.5"], "--alpha"],
    [["--prompts", "a", "--alpha", ""], "--alpha"],
    [["--prompts", "a", "--methods", "ar,ar"], "--methods"],
    [["--prompts", "a", "--replay", "t"], "--replay"],
    [["--prompts", "a", "--bogus"], "--bogus"],
  ])("%j is refused naming the option", (argv, option) => {
    expect(() => parseEvalOptions(argv)).toThrow(option);
  });
});
