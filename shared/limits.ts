import { assert } from "./assert.ts";

/** Every upper bound of the product, in one place. Both sides of a boundary check the same one. */
export const LIMITS = {
  /** Request body at the edge, bytes. */
  bodyBytes: 1 << 20,
  /** Messages in one chat request, and text parts in all of them together. */
  chatMessages: 256,
  contentParts: 1024,
  /** Stop strings in one request, and their length in UTF-16 units. */
  stopStrings: 4,
  stopLength: 256,
  /** Committed tokens (prompt and completion) of one session. */
  contextTokens: 8192,
  /** Completion tokens of one request. */
  completionTokens: 4096,
  /** Lattice columns: heads 2..H. */
  latticeHeads: 16,
  /** Candidates per lattice column. */
  topK: 16,
  /** Tokens that a reply lists beside each committed one. */
  runnersUp: 7,
  /** Paths merged into one draft tree. */
  pBest: 16,
  /** Drafted nodes verified in one step, the root not counted. */
  draftNodes: 63,
  /** Tokens that an engine which drafts itself may be ahead of its reader. */
  runCredit: 1024,
  /** Characters of a tenant's name on the wire. */
  tenantLength: 64,
  /** Alternatives reported per token. */
  topLogProbs: 20,
  /** N-gram order. */
  ngramOrder: 5,
  /** One step message on the wire, bytes; `open` carries the prompt. */
  frameBytes: 128 << 10,
  /** n-gram pack file, bytes: a Workers static asset. */
  packBytes: 25 << 20,
} as const;

assert(LIMITS.draftNodes < 255, "a parent fits one byte, 255 is the root");
assert(LIMITS.frameBytes > LIMITS.contextTokens * 4 + 1024, "a frame holds the longest prompt");
