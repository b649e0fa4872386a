declare const kind: unique symbol;

/**
 * A number of a kind: a number of no kind may become one, as a typed array's elements and literals have to, but one of
 * another kind may not.
 */
export type Kind<Name extends string> = number & { readonly [kind]?: Name };

/** A token of the bundle's vocabulary: an integer in [0, vocabSize). */
export type TokenId = Kind<"token">;

/** A drafted token's index in its tree: 0-based, the root is not counted. */
export type NodeIndex = Kind<"node">;

/** A natural-log probability: <= 0, or -Infinity for "impossible". */
export type LogProb = Kind<"log-probability">;

/** The parent of a node that continues the root. */
export const ROOT: NodeIndex = -1;
