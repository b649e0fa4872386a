/** A token of the bundle's vocabulary: an integer in [0, vocabSize). */
export type TokenId = number;

/** A drafted token's index in its tree: 0-based, the root is not counted. */
export type NodeIndex = number;

/** A natural-log probability: <= 0, or -Infinity for "impossible". */
export type LogProb = number;

/** The parent of a node that continues the root. */
export const ROOT: NodeIndex = -1;
