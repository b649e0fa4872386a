import type { Place, TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import type { TokenId } from "../../shared/ids.ts";

/** The grammar of one text, and where the text is in it. Once the text has ended, every token is allowed. */
export class Constraint {
  readonly #grammar: TokenGrammar;
  #place: Place;

  /** `answered`: the tokens of the answer so far, all of them allowed. */
  constructor(grammar: TokenGrammar, answered: Iterable<TokenId>) {
    this.#grammar = grammar;
    this.#place = grammar.after(answered);
  }

  /** The only token that may come next; -1 where there are several. */
  get forced(): TokenId {
    return this.#grammar.forced(this.#place);
  }

  allows(token: TokenId): boolean {
    return this.#grammar.next(this.#place, token) !== undefined;
  }

  /**
   * The logits, those of tokens that may not come next being -Infinity.
   * @param logits [vocab]
   */
  masked(logits: Float32Array): Float32Array {
    if (this.#place === null) return logits;
    const mask = this.#grammar.mask(this.#place);
    const out = new Float32Array(logits.length).fill(-Infinity);
    for (const [i, bits] of mask.entries()) {
      for (let left = bits; left !== 0; left &= left - 1) {
        const token = i * 32 + 31 - Math.clz32(left & -left);
        if (token < out.length) out[token] = logits[token]!;
      }
    }
    return out;
  }

  push(token: TokenId): void {
    this.#place = this.#grammar.next(this.#place, token) ?? null;
  }
}
