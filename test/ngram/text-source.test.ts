import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { linesOf, splitDocuments, tokenFileOf } from "../../train/ngram/text-source.ts";
import { eachDocument, parseSplit, readTokenFile, SEPARATOR } from "../../train/ngram/token-file.ts";

test("documents end at two blank lines, not at one", async () => {
  const lines = "\n\nfirst\n\nstill first\n\n\nsecond\n\n\n\n\nthird\n".split("\n");
  const documents: string[] = [];
  for await (const document of splitDocuments(lines)) documents.push(document);
  expect(documents).toEqual(["first\n\nstill first", "second", "third"]);
});

test("a split numbers documents within their file: an empty document starts a new one", () => {
  const tokens = Uint16Array.from([
    10,
    SEPARATOR,
    11,
    SEPARATOR,
    12,
    SEPARATOR,
    SEPARATOR,
    20,
    SEPARATOR,
    21,
    SEPARATOR,
    SEPARATOR,
  ]);
  const read = (part: "only" | "without") => {
    const seen: number[] = [];
    eachDocument({ tokens, weight: 1, split: parseSplit("1:2", part) }, (start) => seen.push(tokens[start]!));
    return seen;
  };
  expect(read("only")).toEqual([11, 21]);
  expect(read("without")).toEqual([10, 12, 20]);
  expect(() => parseSplit("7", "only")).toThrow(/REMAINDER:MODULUS/);
});

test("lines end at line feeds alone, wherever the chunks are cut", async () => {
  const text = "a\u2028b\r\n\nnaïve \u{1f600}\rx\nlast";
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const chunks = async function* () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    };
    const lines: string[] = [];
    for await (const line of linesOf(chunks())) lines.push(line);
    expect(lines).toEqual(["a\u2028b", "", "naïve \u{1f600}\rx", "last"]);
  }
});

describe("token files of .jsonl", () => {
  const dir = mkdtempSync(join(tmpdir(), "foredraft-text-"));
  afterAll(() => rmSync(dir, { recursive: true }));
  const lengths = { encode: (text: string) => [text.length], vocabSize: 1000, hash: "toy" };
  const put = (name: string, text: string): string => {
    const path = join(dir, name);
    writeFileSync(path, text);
    return path;
  };

  test("every text of a row is a document, turns with roles too; a bar can follow the reading", async () => {
    const rows = [
      { prompt: "one", response: "four" },
      { turns: ["x", { role: "user", text: "yy" }], source: "no" },
    ];
    const path = put("rows.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
    let done = 0;
    const file = await tokenFileOf(path, lengths, dir, (part) => {
      done = part;
    });
    const S = SEPARATOR;
    expect([...readTokenFile(file)]).toEqual([3, S, 4, S, 1, S, 2, S, S]);
    expect(done).toBe(1);
  });

  const broken = `{"text":"fine"}\n{"text":\n${'{"text":"more"}\n'.repeat(200_000)}`;

  test("a broken row is named", async () => {
    await expect(tokenFileOf(put("broken.jsonl", broken), lengths, dir)).rejects.toThrow(/broken\.jsonl, line 2/);
    await expect(tokenFileOf(join(dir, "none.jsonl"), lengths, dir)).rejects.toThrow(/no such file/);
  });

  const xz = spawnSync("xz", ["-c"], { input: broken });
  test.skipIf(xz.status !== 0)("a broken row ends the unpacking of the rest", async () => {
    const path = join(dir, "broken.jsonl.xz");
    writeFileSync(path, xz.stdout);
    await expect(tokenFileOf(path, lengths, dir)).rejects.toThrow(/line 2/);
    const children = process.getActiveResourcesInfo().filter((kind) => kind === "ProcessWrap");
    expect(children).toEqual([]);
  });
});
