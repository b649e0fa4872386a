import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { GgufFile } from "../../models/gguf.ts";
import { rebuildTokenizer } from "../../models/tokenizer.ts";
import { withExactSplits } from "../../shared/tokenizer-json.ts";
import { goldenTokens } from "./golden-tokens.ts";
import { because, weightsAtHand } from "./weights.ts";

describe.each(["tiny", "smollm2-135m"])("the tokenizer rebuilt for %s", async (name) => {
  const weights = await weightsAtHand(name);
  if (weights === null) {
    it.skip(because(`the weights of ${name} are not in the cache`));
    return;
  }
  const json = await rebuildTokenizer(await GgufFile.open(weights));
  const tokenizer = new Tokenizer(withExactSplits(JSON.parse(json) as object), {});
  const encode = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const golden = goldenTokens(join(import.meta.dirname, "golden"), `${name}.tokens.json`);

  it("gives every golden string the reference's token ids", () => {
    expect(golden.length).toBeGreaterThanOrEqual(300);
    for (const [text, ids] of golden) {
      expect(encode(text), JSON.stringify(text)).toEqual(ids);
    }
  });

  it("decodes them back to the same text", () => {
    for (const [text, ids] of golden) {
      if (ids.length === 0) continue;
      const decoded = tokenizer.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false });
      expect(decoded).toBe(text);
    }
  });
});
