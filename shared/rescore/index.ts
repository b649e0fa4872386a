import type { NgramModel } from "../ngram/model.ts";
import { ngramRescorer } from "./ngram.ts";
import { noneRescorer } from "./none.ts";
import type { Rescorer } from "./rescorer.ts";

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
    };

/**
 * One per request. `pack` may be shared by any number of rescorers; null is fine for `none` and for
 * alpha = 0, which never look at it.
 */
export function createRescorer(spec: RescorerSpec, pack: NgramModel | null): Rescorer {
  return spec.type === "none" ? noneRescorer() : ngramRescorer(spec, pack);
}
