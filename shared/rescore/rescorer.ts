import type { DraftTree } from "../draft-tree.ts";
import type { TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";

/**
 * Turns a lattice into the next draft. One per request; pure in (committed tokens, lattice): the same
 * inputs give the same draft in Node and in workerd, byte for byte.
 */
export interface Rescorer {
  /** Tokens newly committed, in order: the prompt first, then each step's accepted and bonus tokens. */
  commit(tokens: ArrayLike<TokenId>): void;
  /** A draft continuing the last committed token, of at most `maxNodes` nodes. */
  draft(lattice: Lattice, maxNodes: number): DraftTree;
}
