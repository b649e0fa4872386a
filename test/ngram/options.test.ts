import { describe, expect, test } from "vitest";
import { helpText, parseOptions, pruneThresholds, UsageError } from "../../train/ngram/options.ts";

describe("options of npm run ngram", () => {
  test("train takes sizes, counts and a split", () => {
    const line =
      "train --tokenizer t --out o.fdlm --order 3 --prune 0,0,1 --max-bytes 2M --hold-out 7:50 a.u16 b.u16@4";
    const options = parseOptions(line.split(" "));
    expect(options).toMatchObject({ command: "train", order: 3, prune: [0, 0, 1], maxBytes: 2 << 20 });
    expect(options).toMatchObject({ inputs: ["a.u16", "b.u16@4"], split: { remainder: 7, modulus: 50 } });
    expect(parseOptions(["train", "--max-bytes", "none"])?.maxBytes).toBe(Infinity);
  });

  test("help is a command of its own or of each", () => {
    expect(parseOptions(["--help"])).toBeNull();
    expect(parseOptions(["prune", "-h"])?.help).toBe(true);
    expect(helpText("prune")).not.toContain("import-arpa");
  });

  test.each([
    [[], /no command/],
    [["fit"], /unknown command fit/],
    [["info", "--order", "3"], /info takes no --order/],
    [["train", "--frob"], /--frob/],
    [["train", "--order", "two"], /--order: two is not/],
    [["train", "--max-bytes", "2G"], /--max-bytes: 2G/],
    [["train", "--hold-out", "7"], /REMAINDER:MODULUS/],
    [["perplexity", "--only", "x:y"], /REMAINDER:MODULUS/],
  ])("%j is refused by name", (argv, message) => {
    expect(() => parseOptions(argv)).toThrow(UsageError);
    expect(() => parseOptions(argv)).toThrow(message);
  });

  test("count pruning follows lmplz's rules", () => {
    expect(pruneThresholds(null, 4)).toEqual([0, 0, 1, 1]);
    for (const wrong of [
      [0, 0],
      [1, 1, 1],
      [0, 2, 1],
    ])
      expect(() => pruneThresholds(wrong, 3)).toThrow(UsageError);
  });
});
