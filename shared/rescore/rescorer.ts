import type { DraftTree } from "../draft-tree.ts";
import type { TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import type { RunnersUp } from "../runners-up.ts";

/** What bounds a draft beside its number of nodes. */
export interface DraftScope {
  /** Deepest useful node: drafts may go beyond the lattice where the prompt's n-grams lead further. */
  readonly depth: number;
  /** Least chance of a node worth drafting, 0..1: heeded by rescorers that know their nodes' chances. */
  readonly floor: number;
}

/**
 * Turns a lattice into the next draft. One per request; pure in (committed tokens, lattice, bounds): the same
 * inputs give the same draft in Node and in workerd, byte for byte.
 */
export interface Rescorer {
  /** true: it knows how likely its nodes are, and drafts none below `scope.floor`; otherwise all insist. */
  readonly calibrated?: boolean;
  /** Earlier texts, the oldest first, before anything is committed: for rescorers that look at the request's n-grams. */
  recall?(texts: readonly ArrayLike<TokenId>[]): void;
  /**
   * Tokens newly committed, in order: the prompt first, then each step's accepted and bonus tokens. `runnersUp`, where
   * there are any: of the last ones.
   */
  commit(tokens: ArrayLike<TokenId>, runnersUp?: RunnersUp): void;
  /**
   * A draft continuing the last committed token, of at most `maxNodes` nodes. Without `scope` it is as deep as the
   * lattice.
   */
  draft(lattice: Lattice, maxNodes: number, scope?: DraftScope): DraftTree;
}
