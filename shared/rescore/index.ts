import { assert } from "../assert.ts";
import type { TokenId } from "../ids.ts";
import type { NgramModel } from "../ngram/model.ts";
import type { Calibration } from "./calibration.ts";
import { ngramRescorer } from "./ngram.ts";
import { noneRescorer } from "./none.ts";
import { promptRescorer } from "./prompt.ts";
import type { Rescorer } from "./rescorer.ts";
import { treeRescorer } from "./tree.ts";

export type RescorerSpec =
  | { readonly type: "none" }
  | {
      readonly type: "ngram";
      /** 2..5; a pack of lower order serves with its own. */
      readonly order: number;
      /** Weight of the language model in a path's score, 0..1. */
      readonly alpha: number;
      /** Paths merged into the draft tree, 1..16. */
      readonly pBest: number;
      /** Whether n-grams of this request's own tokens take part; default false. */
      readonly prompt?: boolean;
    }
  | {
      readonly type: "tree";
      readonly order: number;
      /** 0 leaves the language model out; otherwise its weight is the calibration's. */
      readonly alpha: number;
      readonly prompt: boolean;
    };

/**
 * One per request. `pack` may be shared by any number of rescorers; null is fine for `none` and for
 * alpha = 0, which never look at it. `tree` needs a calibration. `prediction`: what the answer is expected to be much
 * like; read where the request's own n-grams take part.
 */
export function createRescorer(
  spec: RescorerSpec,
  pack: NgramModel | null,
  calibration: Calibration | null | undefined = null,
  prediction: ArrayLike<TokenId> | null = null,
): Rescorer {
  switch (spec.type) {
    case "none":
      return noneRescorer();
    case "ngram":
      return spec.prompt ? promptRescorer(spec, pack, prediction) : ngramRescorer(spec, pack);
    case "tree":
      assert(calibration != null, "a tree needs a calibration");
      return treeRescorer(spec, pack, calibration, prediction);
  }
}
