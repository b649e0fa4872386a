import { expectTypeOf, test } from "vitest";
import type { DraftTree } from "../../shared/draft-tree.ts";
import type { LogProb, NodeIndex, TokenId } from "../../shared/ids.ts";
import type { LmState } from "../../shared/ngram/model.ts";
import type { PromptState } from "../../shared/ngram/prompt.ts";

/** Checked where the types are: npm run check. */
test("a number of one kind does not stand for another, a number of no kind for any", () => {
  expectTypeOf<TokenId>().not.toExtend<NodeIndex>();
  expectTypeOf<NodeIndex>().not.toExtend<TokenId>();
  expectTypeOf<LogProb>().not.toExtend<TokenId>();
  expectTypeOf<LmState>().not.toExtend<PromptState>();
  expectTypeOf<TokenId[]>().not.toExtend<readonly NodeIndex[]>();
  expectTypeOf<number>().toExtend<TokenId>();
  expectTypeOf<NodeIndex>().toExtend<number>();
  expectTypeOf<DraftTree["tokens"][number]>().toExtend<TokenId>();
});
