import type { Block } from "../../shared/decode/block.ts";
import type { RunRequest } from "../../shared/decode/run-request.ts";
import { chain, EMPTY_TREE, treeOf } from "../../shared/draft-tree.ts";
import {
  type Adjustments,
  type BundleInfo,
  IDLE,
  type Load,
  type OpenSpec,
  type StepResult,
} from "../../shared/engine.ts";
import { createLattice, EMPTY_LATTICE, type Lattice, type PairQuery } from "../../shared/lattice.ts";
import type { ClientMessage, ServerMessage } from "../../shared/messages.ts";
import { NO_RUNNERS_UP, type RunnersUp } from "../../shared/runners-up.ts";

/** One message of every kind and shape. All numbers are such that their encoding holds them exactly. */

export const SPEC: OpenSpec = {
  model: "tiny",
  prompt: Uint32Array.of(1, 2, 65_535),
  heads: 8,
  topK: 16,
  sampling: { temperature: 0.7, topP: 0.95, seed: 4_294_967_295 },
  logProbs: null,
  neural: null,
  fixed: false,
  tenant: "",
  runnersUp: 0,
  pair: false,
};

const ADJUST: Adjustments = {
  biasTokens: Uint32Array.of(7, 70_000),
  biases: Float32Array.of(-100, 2.5),
  repetition: 1.25,
  frequency: -0.5,
  presence: 2,
};

const BUNDLE: BundleInfo = {
  model: "tiny",
  tokenizerHash: "00ff",
  vocabSize: 49_152,
  contextTokens: 2048,
  latticeHeads: 8,
  topK: 16,
  provider: "cpu",
  costs: { pass: 7.5, row: 0.25, wanted: 0.125, context: 14.25, heads: 0 },
  neural: true,
  pair: false,
};

const TIMING = { queueMs: 0.5, modelMs: 7.25, engineMs: 0.125 };
const LOAD: Load = { running: 3, waiting: 300, kvUsed: 51 / 255, passMs: 12.5 };

const NO_TOKENS = Uint32Array.of();
const NO_CHANCES = Float32Array.of();

const LATTICE: Lattice = createLattice(
  2,
  2,
  Uint32Array.of(11, 12, 13, 65_535),
  Float32Array.of(-0.5, -1.5, 0, -Infinity),
);

const QUERIED: Lattice = { ...LATTICE, query: { values: Int8Array.of(127, -128, 0, 5), scales: [0.5, 0.0078125] } };

export const RESULT: StepResult = {
  accepted: [],
  bonus: 7,
  lattice: EMPTY_LATTICE,
  logProbs: null,
  runnersUp: NO_RUNNERS_UP,
  threshold: 12,
  timing: TIMING,
  load: LOAD,
};

const RUNNERS_UP: RunnersUp = { k: 2, tokens: Uint32Array.of(4, 5, 6, 70_000), gaps: Uint8Array.of(0, 16, 3, 255) };

const RUN: RunRequest = {
  rescorer: { type: "none" },
  pack: null,
  maxNodes: 0,
  autoNodes: false,
  limits: { maxTokens: 8192, eosTokens: [2] },
  guided: false,
  verified: false,
};

const DRAFTED = { pack: "00ff", maxNodes: 63, limits: { maxTokens: 1, eosTokens: [] }, verified: true };

const BLOCK: Block = {
  call: 0,
  committed: [
    { token: 9, kind: "accepted", logProbs: null },
    { token: 70_000, kind: "bonus", logProbs: null },
  ],
  runnersUp: NO_RUNNERS_UP,
  drafted: 3,
  verified: null,
  cachedTokens: 0,
  finish: null,
  timing: TIMING,
};

export const CLIENT: Readonly<Record<string, ClientMessage>> = {
  open: { type: "open", version: 5, spec: SPEC },
  "open with a large vocabulary and log-probabilities": {
    type: "open",
    version: 5,
    spec: { ...SPEC, prompt: Uint32Array.of(65_536), heads: 0, topK: 1, logProbs: 20 },
  },
  "open with a local rescorer": { type: "open", version: 5, spec: { ...SPEC, neural: 0.25 } },
  "open with lattices that have a query": { type: "open", version: 5, spec: { ...SPEC, pair: true } },
  "open with runners-up": { type: "open", version: 5, spec: { ...SPEC, runnersUp: 7 } },
  "open of a tenant, with drafts of a fixed size": {
    type: "open",
    version: 5,
    spec: { ...SPEC, fixed: true, tenant: "0a1b" },
  },
  "open of a session that goes on from another one's": {
    type: "open",
    version: 5,
    spec: { ...SPEC, answered: 2 },
  },
  "open with all that changes how tokens are chosen": {
    type: "open",
    version: 5,
    spec: { ...SPEC, sampling: { ...SPEC.sampling, topK: 40, minP: 0.25, adjust: ADJUST } },
  },
  "open with a bias alone": {
    type: "open",
    version: 5,
    spec: { ...SPEC, sampling: { ...SPEC.sampling, adjust: { ...ADJUST, repetition: 1, frequency: 0, presence: 0 } } },
  },
  "open with a grammar": { type: "open", version: 5, spec: { ...SPEC, grammar: 'root ::= "a"' } },
  "step without a draft": { type: "step", index: 0, draft: EMPTY_TREE },
  "step with a chain": { type: "step", index: 300, draft: chain([5, 6, 7]) },
  "step with a tree": {
    type: "step",
    index: 70_000,
    draft: treeOf([5, 6, 70_000], [-1, -1, 1], Uint8Array.of(3, 255, 128)),
  },
  "run without a draft": { type: "run", steps: 0, credit: 256, request: RUN },
  "run with one n-gram path": {
    type: "run",
    steps: 7,
    credit: 0,
    request: { ...RUN, ...DRAFTED, rescorer: { type: "ngram", order: 4, alpha: 0.25, prompt: false, pBest: 16 } },
  },
  "run with a tree that grows by what pays, blocks telling it": {
    type: "run",
    steps: 7,
    credit: 1024,
    request: {
      ...RUN,
      ...DRAFTED,
      rescorer: { type: "tree", order: 3, alpha: 0.5, prompt: true },
      autoNodes: true,
      guided: true,
    },
  },
  "run with a prediction": {
    type: "run",
    steps: 300,
    credit: 1,
    request: { ...RUN, prediction: Uint32Array.of(3, 65_536) },
  },
  credit: { type: "credit", tokens: 32, stamp: 70_000 },
  pause: { type: "pause" },
  "hint of nothing": { type: "hint", hint: { anchor: 1, tree: EMPTY_TREE } },
  "hint of a tree": {
    type: "hint",
    hint: { anchor: 8192, tree: treeOf([5, 6, 70_000], [-1, 0, 0], Uint8Array.of(200, 200, 7)) },
  },
};

export const SERVER: Readonly<Record<string, ServerMessage>> = {
  opened: { type: "opened", bundle: BUNDLE, cachedTokens: 0, result: RESULT },
  "opened with what had been computed, by an idle engine that verifies nothing": {
    type: "opened",
    bundle: { ...BUNDLE, pair: true },
    cachedTokens: 8192,
    result: { ...RESULT, threshold: 256, load: IDLE },
  },
  stepped: { type: "stepped", index: 3, result: { ...RESULT, accepted: [0, 2, 62], lattice: LATTICE } },
  "stepped with a lattice that has a query": { type: "stepped", index: 3, result: { ...RESULT, lattice: QUERIED } },
  "stepped with log-probabilities": {
    type: "stepped",
    index: 4,
    result: {
      ...RESULT,
      accepted: [1],
      logProbs: [
        { logProb: -0.25, topTokens: Uint32Array.of(4, 9), topLogProbs: Float32Array.of(-0.25, -3) },
        { logProb: -2, topTokens: Uint32Array.of(1, 65_536), topLogProbs: Float32Array.of(0, -Infinity) },
      ],
    },
  },
  "stepped with runners-up": {
    type: "stepped",
    index: 4,
    result: { ...RESULT, accepted: [1], runnersUp: RUNNERS_UP },
  },
  "block with runners-up": { type: "block", echo: null, block: { ...BLOCK, runnersUp: RUNNERS_UP } },
  block: { type: "block", block: BLOCK, echo: null },
  "block with a stamp returned": {
    type: "block",
    block: { ...BLOCK, call: 127, committed: BLOCK.committed.slice(1) },
    echo: { stamp: 300, heldMs: 2.5, load: LOAD },
  },
  "the last block, with what was verified and log-probabilities": {
    type: "block",
    block: {
      ...BLOCK,
      committed: [
        { token: 5, kind: "accepted", logProbs: { logProb: -0.25, topTokens: NO_TOKENS, topLogProbs: NO_CHANCES } },
      ],
      verified: {
        tree: treeOf([4, 5, 6], [-1, -1, 1], Uint8Array.of(3, 255, 128), Uint8Array.of(0, 1, 2)),
        lattice: LATTICE,
        accepted: [1, 2],
      },
      finish: "length",
    },
    echo: null,
  },
  "block that tells a lattice with a query": {
    type: "block",
    echo: null,
    block: {
      ...BLOCK,
      verified: { tree: treeOf([11], [-1], Uint8Array.of(9), Uint8Array.of(0)), lattice: QUERIED, accepted: [0] },
    },
  },
  paused: { type: "paused", end: { steps: 12, result: { ...RESULT, accepted: [1], lattice: LATTICE } } },
  alive: { type: "alive" },
  failed: { type: "failed", code: "overloaded", message: "The engine is busy: später.", param: null, retryAfterS: 7 },
  "failed at a field": { type: "failed", code: "invalid_request", message: "no", param: "prompt", retryAfterS: null },
};

/** The largest usual reply: 8 heads x 16 candidates, a long accepted path, perhaps a query. */
export function fullReply(query: PairQuery | null = null): ServerMessage {
  const lattice = createLattice(
    8,
    16,
    Uint32Array.from({ length: 128 }, (_, i) => 49_151 - i * 300),
    Float32Array.from({ length: 128 }, (_, i) => -0.37 * ((i % 16) + 1)),
    query,
  );
  const result = { ...RESULT, accepted: [0, 1, 2, 3, 4, 5, 6, 7], bonus: 49_151, lattice };
  return { type: "stepped", index: 65_536, result };
}
