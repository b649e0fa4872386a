import type { Adjustments, Sampling } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";

/**
 * A session's logits as its bias and penalties leave them, given the tokens before. The tokens along a draft's path are
 * pushed as they are chosen, so every node is adjusted by its own path, whatever else was drafted.
 */
export class LogitAdjuster {
  readonly #adjust: Adjustments;
  /** Tokens of the answer, and how often each occurs. */
  readonly #counts = new Map<TokenId, number>();
  /** Tokens of prompt and answer; left empty where repetition is not looked at. */
  readonly #seen = new Set<TokenId>();
  /** [vocab] */
  #adjusted = new Float32Array(0);

  private constructor(adjust: Adjustments, text: ArrayLike<TokenId>, answerAt: number) {
    this.#adjust = adjust;
    for (let i = 0; i < text.length; i++) {
      if (i >= answerAt) this.push(text[i]!);
      else if (adjust.repetition !== 1) this.#seen.add(text[i]!);
    }
  }

  /** `text`: all committed tokens, the answer's from `answerAt` on. null where nothing is to be adjusted. */
  static for({ adjust }: Sampling, text: ArrayLike<TokenId>, answerAt: number): LogitAdjuster | null {
    return adjust === undefined ? null : new LogitAdjuster(adjust, text, answerAt);
  }

  /** The next token of the answer. */
  push(token: TokenId): void {
    this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
    if (this.#adjust.repetition !== 1) this.#seen.add(token);
  }

  /**
   * Of the token after those pushed. Valid until the next call.
   * @param logits [vocab]; stays as it is
   */
  adjust(logits: Float32Array): Float32Array {
    const { biasTokens, biases, repetition, frequency, presence } = this.#adjust;
    if (this.#adjusted.length !== logits.length) this.#adjusted = new Float32Array(logits.length);
    const adjusted = this.#adjusted;
    adjusted.set(logits);
    for (let i = 0; i < biasTokens.length; i++) adjusted[biasTokens[i]!]! += biases[i]!;
    for (const token of this.#seen) {
      const logit = adjusted[token]!;
      adjusted[token] = logit > 0 ? logit / repetition : logit * repetition;
    }
    if (frequency === 0 && presence === 0) return adjusted;
    for (const [token, count] of this.#counts) adjusted[token]! -= frequency * count + presence;
    return adjusted;
  }
}
