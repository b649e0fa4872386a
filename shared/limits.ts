import { assert } from "./assert.ts";

/** Every upper bound of the product, in one place. Both sides of a boundary check the same one. */
export const LIMITS = {
  /** Request body at the edge, bytes. */
  bodyBytes: 1 << 20,
  /** Of a JSON body: fields of all objects together, objects and lists, values in lists and objects, and depth. */
  bodyFields: 16_384,
  bodyLists: 16_384,
  bodyValues: 1 << 18,
  bodyDepth: 256,
  /** Fields of the body itself and of a message: more than there are names for. */
  objectFields: 256,
  /** Messages in one chat request, and text parts in all of them together. */
  chatMessages: 256,
  contentParts: 1024,
  /** Tools of one request, also calls in one message. */
  tools: 128,
  /** Characters of a name or id that a caller gives. */
  nameLength: 256,
  /** Pairs of a request's metadata, and kinds of things that it wants included. */
  metadata: 16,
  included: 16,
  /** Texts that an answer may be one of. */
  guidedChoices: 1000,
  /** Stop strings in one request, and their length in UTF-16 units. */
  stopStrings: 4,
  stopLength: 256,
  /** Tokens whose logits one request may bias, and by how much at most. */
  biases: 300,
  bias: 100,
  /** Presence and frequency penalties, either way; the repetition penalty's factor, which float32 is to divide by. */
  penalty: 2,
  leastRepetition: 0.01,
  repetition: 10,
  /** Committed tokens (prompt and completion) of one session. */
  contextTokens: 8192,
  /** Completions of one request: prompts times choices of each; and how many of them are decoded at once. */
  choices: 16,
  choicesAtOnce: 4,
  /** Lattice columns: heads 2..H. */
  latticeHeads: 16,
  /** Candidates per lattice column. */
  topK: 16,
  /** Rank of a lattice's query (PairQuery): both its halves and their scales are less than 256 bytes on the wire. */
  pairRank: 112,
  /** Tokens that a reply lists beside each committed one. */
  runnersUp: 7,
  /** Paths merged into one draft tree. */
  pBest: 16,
  /** Drafted nodes verified in one step, the root not counted. */
  draftNodes: 63,
  /** Tokens that an engine which drafts itself may be ahead of its reader. */
  runCredit: 1024,
  /** What is remembered of one tenant: earlier texts, and tokens in all of them. */
  memoryTexts: 256,
  memoryTokens: 16_384,
  /** API keys in the list, the streams of one, and requests or tokens that one may be given for a minute. */
  keys: 1000,
  keyStreams: 1024,
  perMinute: 1_000_000_000,
  /** For how many days is known what a key used. */
  usageDays: 90,
  /** Gpu-workers registered at once, and characters of an address and of a model's name. */
  fleetWorkers: 64,
  urlLength: 512,
  modelNameLength: 128,
  /** Characters of a tenant's name on the wire. */
  tenantLength: 64,
  /** A grammar's text, which is ASCII. */
  grammarBytes: 64 << 10,
  /** Alternatives reported per token. */
  topLogProbs: 20,
  /** N-gram order. */
  ngramOrder: 5,
  /** One step message on the wire, bytes; `open` carries the prompt. */
  frameBytes: 128 << 10,
  /** n-gram pack file, bytes: a Workers static asset. */
  packBytes: 25 << 20,
  /** One that a tenant uploads, which is read whole in an isolate's memory; how many a tenant may have; its name's length. */
  tenantPackBytes: 8 << 20,
  tenantPacks: 8,
  packNameLength: 64,
} as const;

assert(LIMITS.draftNodes < 255, "a parent fits one byte, 255 is the root");
assert(
  LIMITS.frameBytes > (LIMITS.contextTokens + 2 * LIMITS.biases) * 4 + LIMITS.grammarBytes + 1024,
  "a frame holds the longest prompt and the largest grammar",
);
