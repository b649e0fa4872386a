import { copyInto } from "../grow.ts";
import type { Kind, TokenId } from "../ids.ts";
import { LIMITS } from "../limits.ts";

/**
 * The longest end of a history, at most order - 1 tokens, that occurred in the committed tokens with a token after it.
 * Histories with equal states have equal continuations. Valid until the next `push`.
 */
export type PromptState = Kind<"prompt state">;

/** The empty history: every committed token has continued it. */
export const NO_MATCH: PromptState = 0;

export const PROMPT_ORDER = 8;

/** Tokens that are learnt: a context, a prediction, the end of the prompt after it, and all that is remembered. */
export const PROMPT_TOKENS = LIMITS.memoryTokens + 2 * LIMITS.contextTokens + PROMPT_ORDER;

const FIRST_NODES = 1 << 10;
const NONE = -1;

/**
 * n-grams of one request's own tokens, prompt and output, and of earlier texts, up to PROMPT_ORDER: a trie whose node is
 * an n-gram, its parent the n-gram without the newest token, its suffix the one without the oldest. A push touches one node for each
 * order; asking about a hypothetical continuation changes nothing. Children are listed from the most recently seen.
 * At most PROMPT_ORDER * PROMPT_TOKENS nodes of 29 bytes: 2 MB for the longest context, twice that with as long a
 * prediction, and up to 8 MB with the longest memory before both; arrays double as they fill.
 */
export class PromptModel {
  /** [nodes] the newest token of the n-gram */
  private token = new Uint32Array(FIRST_NODES);
  /** [nodes] occurrences */
  private count = new Uint16Array(FIRST_NODES);
  /** [nodes] occurrences that something followed: the sum of the children's counts */
  private total = new Uint16Array(FIRST_NODES);
  /** [nodes] tokens of the n-gram */
  private length = new Uint8Array(FIRST_NODES);
  private parent = new Int32Array(FIRST_NODES);
  private suffix = new Int32Array(FIRST_NODES);
  private first = new Int32Array(FIRST_NODES).fill(NONE);
  private next = new Int32Array(FIRST_NODES);
  private previous = new Int32Array(FIRST_NODES);
  private nodes = 1;
  /** Open addressing: (parent, token) -> node; 0 is free, the root being nobody's child. */
  private table = new Int32Array(2 * FIRST_NODES);
  private tokens = 0;
  /** [order] nodes of the ends of the committed tokens, by length */
  private readonly ends = new Int32Array(PROMPT_ORDER);
  /** Lengths of `ends` in use: 0 .. endings - 1. */
  private endings = 1;

  /** [length] the end of `traced` of that length; nodes keep their suffixes, so pushes change nothing here. */
  private readonly path = new Int32Array(PROMPT_ORDER);
  private traced: PromptState = NO_MATCH;

  /** Filled by `find`: evidence for one token after one history. */
  matched = 0;
  seen = 0;
  outOf = 0;
  newest = false;

  /** Appends a committed token. */
  push(token: TokenId): void {
    if (this.tokens === PROMPT_TOKENS) return;
    this.tokens++;
    let shorter: number = NONE;
    for (let length = 0, endings = this.endings; length < endings; length++) {
      const context = this.ends[length]!;
      let child = this.child(context, token);
      if (child === NONE) child = this.add(context, token, shorter === NONE ? NO_MATCH : shorter);
      else this.unlink(child);
      this.link(context, child);
      this.count[child]!++;
      this.total[context]!++;
      // The end of this length has been read: the next one's place in `ends` is still the old context's.
      if (length > 0) this.ends[length] = shorter;
      shorter = child;
    }
    if (this.endings < PROMPT_ORDER) this.ends[this.endings++] = shorter;
  }

  /** The next token begins another text. */
  separate(): void {
    this.endings = 1;
  }

  /** State of the committed tokens. */
  get state(): PromptState {
    for (let length = this.endings - 1; length > 0; length--) {
      if (this.total[this.ends[length]!]! > 0) return this.ends[length]!;
    }
    return NO_MATCH;
  }

  /** State after one more token, which is not committed. */
  follow(state: PromptState, token: TokenId): PromptState {
    for (let context = state; ; context = this.suffix[context]!) {
      // The longest n-grams are nobody's context.
      let at = this.length[context]! < PROMPT_ORDER - 1 ? this.child(context, token) : NONE;
      while (at > 0 && this.total[at] === 0) at = this.suffix[at]!;
      if (at !== NONE) return at;
      if (context === NO_MATCH) return NO_MATCH;
    }
  }

  /** Tokens that a state remembers: 0 .. order - 1. */
  lengthOf(state: PromptState): number {
    return this.length[state]!;
  }

  /** The state without its oldest token. */
  shorten(state: PromptState): PromptState {
    return this.suffix[state]!;
  }

  /**
   * Whether `token` has followed any end of `state`, the empty one included. Then `matched` is the length of the
   * longest such end, `seen` how often, `outOf` how often anything followed it, `newest` whether `token` was last.
   */
  find(state: PromptState, token: TokenId): boolean {
    this.trace(state);
    // What followed a longer end followed every shorter one, and most tokens followed none.
    let found: number = NONE;
    for (let length = 0; length <= this.length[state]!; length++) {
      const child = this.child(this.path[length]!, token);
      if (child === NONE) break;
      found = child;
    }
    if (found === NONE) return false;
    const context = this.parent[found]!;
    this.matched = this.length[context]!;
    this.seen = this.count[found]!;
    this.outOf = this.total[context]!;
    this.newest = this.first[context] === found;
    return true;
  }

  /** Writes up to `most` tokens that followed `state` itself into `out` from `at`, the latest first; how many. */
  continuations(state: PromptState, out: Uint32Array, at: number, most: number): number {
    let listed = 0;
    for (let child = this.first[state]!; child !== NONE && listed < most; child = this.next[child]!) {
      out[at + listed++] = this.token[child]!;
    }
    return listed;
  }

  /** Notes the ends of a state in `path`; many tokens are asked about after one state. */
  private trace(state: PromptState): void {
    if (this.traced === state) return;
    this.traced = state;
    for (let context = state; ; context = this.suffix[context]!) {
      this.path[this.length[context]!] = context;
      if (context === NO_MATCH) return;
    }
  }

  private child(context: number, token: TokenId): number {
    for (let at = this.slot(context, token); ; at = (at + 1) & (this.table.length - 1)) {
      const node = this.table[at]!;
      if (node === 0) return NONE;
      if (this.parent[node] === context && this.token[node] === token) return node;
    }
  }

  private add(context: number, token: TokenId, suffix: number): number {
    if (this.nodes === this.token.length) this.grow();
    const node = this.nodes++;
    this.token[node] = token;
    this.length[node] = this.length[context]! + 1;
    this.parent[node] = context;
    this.suffix[node] = suffix;
    this.first[node] = NONE;
    this.enter(node);
    return node;
  }

  private enter(node: number): void {
    const mask = this.table.length - 1;
    let at = this.slot(this.parent[node]!, this.token[node]!);
    while (this.table[at] !== 0) at = (at + 1) & mask;
    this.table[at] = node;
  }

  private slot(context: number, token: TokenId): number {
    const mixed = Math.imul(Math.imul(context, 0x9e3779b1) ^ token, 0x85ebca6b);
    return (mixed ^ (mixed >>> 15)) & (this.table.length - 1);
  }

  private link(context: number, child: number): void {
    const head = this.first[context]!;
    this.next[child] = head;
    this.previous[child] = NONE;
    if (head !== NONE) this.previous[head] = child;
    this.first[context] = child;
  }

  private unlink(child: number): void {
    const before = this.previous[child]!;
    const after = this.next[child]!;
    if (before === NONE) this.first[this.parent[child]!] = after;
    else this.next[before] = after;
    if (after !== NONE) this.previous[after] = before;
  }

  private grow(): void {
    const size = 2 * this.token.length;
    this.token = copyInto(new Uint32Array(size), this.token);
    this.count = copyInto(new Uint16Array(size), this.count);
    this.total = copyInto(new Uint16Array(size), this.total);
    this.length = copyInto(new Uint8Array(size), this.length);
    this.parent = copyInto(new Int32Array(size), this.parent);
    this.suffix = copyInto(new Int32Array(size), this.suffix);
    this.first = copyInto(new Int32Array(size), this.first);
    this.next = copyInto(new Int32Array(size), this.next);
    this.previous = copyInto(new Int32Array(size), this.previous);
    this.table = new Int32Array(2 * size);
    for (let node = 1; node < this.nodes; node++) this.enter(node);
  }
}
