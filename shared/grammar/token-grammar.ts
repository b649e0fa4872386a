import type { TokenId } from "../ids.ts";
import { buildAutomaton } from "./automaton.ts";
import { parseGrammar } from "./ebnf.ts";
import { type State, States } from "./states.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Where a text of tokens is in its grammar; null once it has ended. */
export type Place = State | null;

/** Masks that are remembered, at vocabulary / 8 bytes each. */
const MAX_MASKS = 512;

/**
 * A grammar over the tokens of a vocabulary. A token is allowed where the grammar allows its bytes, a token that ends the
 * text where the text may end. Where only one text can follow, and no token reaches beyond it, the longest token of it
 * alone is allowed: it is *forced*.
 */
export class TokenGrammar {
  readonly #vocabulary: Vocabulary;
  readonly #states: States;
  #masks = new WeakMap<State, Uint32Array>();
  #masked = 0;
  #forced = new WeakMap<State, TokenId>();

  /** Throws GrammarError, saying what is wrong with `source`. */
  constructor(source: string, vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    const automaton = buildAutomaton(parseGrammar(source), (byte) => vocabulary.writes(byte));
    this.#states = new States(automaton);
  }

  get start(): Place {
    return this.#states.start;
  }

  /** undefined: the token is not allowed there. */
  next(place: Place, token: TokenId): Place | undefined {
    if (place === null) return null;
    if (this.#vocabulary.eosTokens.includes(token)) return place.accepts ? null : undefined;
    const bytes = this.#vocabulary.bytesOf(token);
    if (bytes.length === 0) return undefined;
    let state: State | null = place;
    for (const byte of bytes) {
      state = this.#states.step(state, byte);
      if (state === null) return undefined;
    }
    return state;
  }

  /** After tokens that were all chosen under this grammar; the text has ended where one was not. */
  after(tokens: Iterable<TokenId>, from: Place = this.start): Place {
    let place = from;
    for (const token of tokens) place = this.next(place, token) ?? null;
    return place;
  }

  /** The only token that is allowed, or -1. */
  forced(place: Place): TokenId {
    if (place === null) return -1;
    const known = this.#forced.get(place);
    if (known !== undefined) return known;
    const { token, extends: more } = place.readings.length === 0 ? this.#end() : this.#longest(place);
    const forced = more ? -1 : token;
    this.#forced.set(place, forced);
    return forced;
  }

  /** The longest token of the text that has to follow, or -1 where nothing has to: more likely than any other. */
  expected(place: Place): TokenId {
    if (place === null) return -1;
    return place.readings.length === 0 ? this.#end().token : this.#longest(place).token;
  }

  /** [vocabulary / 32] a bit for each token allowed; forced ones are not told from others. */
  mask(place: State): Uint32Array {
    const known = this.#masks.get(place);
    if (known !== undefined) return known;
    const mask = this.#maskOf(place);
    if (this.#masked++ >= MAX_MASKS) {
      this.#masks = new WeakMap();
      this.#masked = 1;
    }
    this.#masks.set(place, mask);
    return mask;
  }

  #end(): { token: TokenId; extends: boolean } {
    return { token: this.#vocabulary.eosTokens[0] ?? -1, extends: false };
  }

  /** `extends`: whether some token goes on beyond the text that has to follow. */
  #longest(place: State): { token: TokenId; extends: boolean } {
    const { tokens } = this.#vocabulary;
    let state = place;
    let node = 0;
    let token = -1;
    while (state.only >= 0) {
      const child = this.#vocabulary.child(node, state.only);
      // Shorter than the text that has to follow: no token reaches its end.
      if (child < 0) return { token, extends: false };
      node = child;
      state = this.#states.step(state, state.only)!;
      if (tokens[node]! >= 0) token = tokens[node]!;
    }
    return { token, extends: this.#goesOn(node, state) };
  }

  #goesOn(node: number, state: State): boolean {
    const { ends, bytes } = this.#vocabulary;
    for (let at = node + 1; at < ends[node]!; at = ends[at]!) {
      if (this.#states.step(state, bytes[at]!) !== null) return true;
    }
    return false;
  }

  #maskOf(place: State): Uint32Array {
    const { size, bytes, depths, ends, tokens, twins, longest, eosTokens } = this.#vocabulary;
    const mask = new Uint32Array((size + 31) >>> 5);
    const allow = (token: TokenId) => {
      mask[token >>> 5]! |= 1 << (token & 31);
    };
    /** [depth] */
    const path: State[] = new Array(longest + 1);
    path[0] = place;
    for (let node = 1; node < bytes.length; ) {
      const depth = depths[node]!;
      const state = this.#states.step(path[depth - 1]!, bytes[node]!);
      if (state === null) {
        node = ends[node]!;
        continue;
      }
      path[depth] = state;
      if (tokens[node]! >= 0) allow(tokens[node]!);
      if (twins.has(node)) for (const twin of twins.get(node)!) allow(twin);
      node++;
    }
    if (place.accepts) for (const token of eosTokens) allow(token);
    return mask;
  }
}
