import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTokenizer } from "../../edge/text/tokenizer.ts";
import { GgufFile } from "../../models/gguf.ts";
import { rebuildTokenizer } from "../../models/tokenizer.ts";
import { goldenTokens } from "./golden-tokens.ts";

/** Written by train/export_tokenizers.py: strings and the ids that the reference gives them. */
const FOLDER = join(import.meta.dirname, "tokenizers");
const FAMILIES = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".gguf"))
  .map((name) => name.slice(0, -".gguf".length));

describe.each(FAMILIES)("the tokenizer of family %s", async (family) => {
  const json = await rebuildTokenizer(await GgufFile.open(join(FOLDER, `${family}.gguf`)));
  const tokenizer = createTokenizer(new TextEncoder().encode(json));
  const rows = goldenTokens(FOLDER, `${family}.json`);

  it("gives every string the reference's tokens", () => {
    expect(rows.length).toBeGreaterThanOrEqual(170);
    for (const [text, ids] of rows) expect(tokenizer.encodeMarked(text), JSON.stringify(text)).toEqual(ids);
  });

  it("has bytes that join to the same text again", () => {
    for (const [text, ids] of rows) {
      const bytes = Buffer.concat(ids.map((id) => tokenizer.bytes(id)));
      const prefix = family === "llama-spm" && ids.length > 0 ? " " : "";
      expect(bytes.toString("utf8")).toBe(prefix + text);
    }
  });
});
