import type { TokenId } from "../ids.ts";
import { PROMPT_ORDER, type PromptModel } from "../ngram/prompt.ts";

/** What the prior counts for, in observations. */
const PRIOR_WEIGHT = 4;
/** Share of the evidence kept per observation: a memory of about twenty. */
const KEEP = 0.95;

/** How often lately the latest continuation of the longest match was right, by the match's length. */
export class CopyTrust {
  /** Copies in a row up to the newest token. */
  run = 0;
  private readonly prompt: PromptModel;
  private readonly right = new Float64Array(PROMPT_ORDER);
  private readonly asked = new Float64Array(PROMPT_ORDER);

  constructor(prompt: PromptModel) {
    this.prompt = prompt;
  }

  /** Before `token` is pushed. */
  observe(token: TokenId): void {
    const { prompt } = this;
    const { state } = prompt;
    const matched = prompt.lengthOf(state);
    const hit = prompt.find(state, token) && prompt.matched === matched && prompt.newest;
    this.run = hit && matched > 0 ? this.run + 1 : 0;
    this.right[matched] = this.right[matched]! * KEEP + (hit ? 1 : 0);
    this.asked[matched] = this.asked[matched]! * KEEP + 1;
  }

  /** 0..1; 0 without a match. */
  of(matched: number): number {
    const prior = matched / (matched + 2);
    return (this.right[matched]! + PRIOR_WEIGHT * prior) / (this.asked[matched]! + PRIOR_WEIGHT);
  }
}
