import type { TokenId } from "../ids.ts";
import type { TokenTable } from "../token-table.ts";

/**
 * The tokens of a model as a trie over their bytes, in preorder: node 0 is the root, the subtree of node i is nodes
 * [i, ends[i]).
 */
export class Vocabulary {
  readonly size: number;
  readonly eosTokens: readonly TokenId[];
  /** [nodes] the byte that leads to each. */
  readonly bytes: Uint8Array;
  /** [nodes] bytes from the root. */
  readonly depths: Uint16Array;
  readonly ends: Uint32Array;
  /** [nodes] the lowest token of these bytes; -1: there is none. */
  readonly tokens: Int32Array;
  /** Further tokens of the same bytes, by node. */
  readonly twins: ReadonlyMap<number, readonly TokenId[]>;
  /** Bytes of the longest token. */
  readonly longest: number;
  readonly #table: TokenTable;

  constructor(table: TokenTable, eosTokens: readonly TokenId[]) {
    this.size = table.size;
    this.eosTokens = eosTokens;
    this.#table = table;
    const texts: { readonly text: string; readonly token: TokenId }[] = [];
    for (let token = 0; token < table.size; token++) {
      const bytes = this.bytesOf(token);
      if (bytes.length > 0) texts.push({ text: String.fromCharCode(...bytes), token });
    }
    texts.sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : a.token - b.token));
    const trie = preorder(texts);
    this.bytes = Uint8Array.from(trie.bytes);
    this.depths = Uint16Array.from(trie.depths);
    this.ends = Uint32Array.from(trie.ends);
    this.tokens = Int32Array.from(trie.tokens);
    this.twins = trie.twins;
    this.longest = texts.reduce((most, { text }) => Math.max(most, text.length), 0);
  }

  /** What a token adds to the text: nothing, for control tokens. */
  bytesOf(token: TokenId): Uint8Array {
    return this.#table.hidden(token) ? NO_BYTES : this.#table.bytes(token);
  }

  /** Whether a token of this one byte exists: every text of such bytes can be written. */
  writes(byte: number): boolean {
    const node = this.child(0, byte);
    return node >= 0 && this.tokens[node]! >= 0;
  }

  /** -1 where there is none. */
  child(node: number, byte: number): number {
    const end = this.ends[node]!;
    for (let at = node + 1; at < end; at = this.ends[at]!) if (this.bytes[at] === byte) return at;
    return -1;
  }
}

const NO_BYTES = new Uint8Array(0);

/** `texts` rise. */
function preorder(texts: readonly { readonly text: string; readonly token: TokenId }[]) {
  const bytes = [0];
  const depths = [0];
  const ends = [0];
  const tokens = [-1];
  const twins = new Map<number, TokenId[]>();
  /** Nodes from the root to the last text's. */
  const path = [0];
  let last = "";
  for (const { text, token } of texts) {
    let shared = 0;
    while (shared < last.length && text.charCodeAt(shared) === last.charCodeAt(shared)) shared++;
    for (const closed of path.splice(shared + 1)) ends[closed] = bytes.length;
    for (let i = shared; i < text.length; i++) {
      path.push(bytes.length);
      bytes.push(text.charCodeAt(i));
      depths.push(i + 1);
      ends.push(0);
      tokens.push(-1);
    }
    const node = path.at(-1)!;
    if (tokens[node] === -1) tokens[node] = token;
    else twins.set(node, [...(twins.get(node) ?? []), token]);
    last = text;
  }
  for (const open of path) ends[open] = bytes.length;
  return { bytes, depths, ends, tokens, twins };
}
