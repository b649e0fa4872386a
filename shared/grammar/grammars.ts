import type { TokenId } from "../ids.ts";
import type { TokenTable } from "../token-table.ts";
import { TokenGrammar } from "./token-grammar.ts";
import { Vocabulary } from "./vocabulary.ts";

/** Grammars kept, each of at most some tens of MB. */
const KEPT = 8;

/** Grammars over one model's tokens, each compiled once: the last ones used are kept. */
export class Grammars {
  readonly #table: TokenTable;
  readonly #eosTokens: readonly TokenId[];
  readonly #known = new Map<string, TokenGrammar>();
  #vocabulary: Vocabulary | null = null;

  constructor(table: TokenTable, eosTokens: readonly TokenId[]) {
    this.#table = table;
    this.#eosTokens = eosTokens;
  }

  /** Throws GrammarError, saying what is wrong with `source`. */
  of(source: string): TokenGrammar {
    this.#vocabulary ??= new Vocabulary(this.#table, this.#eosTokens);
    const grammar = this.#known.get(source) ?? new TokenGrammar(source, this.#vocabulary);
    // The newest is the last.
    this.#known.delete(source);
    this.#known.set(source, grammar);
    const oldest = this.#known.keys().next();
    if (this.#known.size > KEPT && !oldest.done) this.#known.delete(oldest.value);
    return grammar;
  }
}
