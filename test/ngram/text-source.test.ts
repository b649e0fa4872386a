import { expect, test } from "vitest";
import { splitDocuments } from "../../train/ngram/text-source.ts";
import { eachDocument, parseSplit, SEPARATOR } from "../../train/ngram/token-file.ts";

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
