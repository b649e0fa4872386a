import type { Scorer } from "./table-model.ts";
import { eachDocument, type TokenSource } from "./token-file.ts";

export interface Perplexity {
  readonly tokens: number;
  readonly perplexity: number;
  /** [order] tokens whose longest matching n-gram has order 1..order */
  readonly matched: readonly number[];
}

/** Every token of every document, each document from the empty history; its end is not scored. */
export function perplexityOf(model: Scorer, sources: readonly TokenSource[]): Perplexity {
  const matched = new Float64Array(model.order + 1);
  let tokens = 0;
  let logProb = 0;
  for (const source of sources) {
    eachDocument(source, (start, end) => {
      let state = 0;
      for (let i = start; i < end; i++) {
        logProb += model.score(state, source.tokens[i]!);
        state = model.next;
        matched[model.matched]! += 1;
      }
      tokens += end - start;
    });
  }
  return { tokens, perplexity: Math.exp(-logProb / tokens), matched: [...matched.subarray(1)] };
}
