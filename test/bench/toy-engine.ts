import { type DraftTree, findChild } from "../../shared/draft-tree.ts";
import { type BundleInfo, IDLE, type OpenSpec, type StepEngine, type StepResult } from "../../shared/engine.ts";
import { ROOT } from "../../shared/ids.ts";
import { createLattice, EMPTY_LATTICE, type Lattice, type PairQuery } from "../../shared/lattice.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { joinRunnersUp, type RunnersUp } from "../../shared/runners-up.ts";

export const TOY_HEADS = 4;
export const TOY_TOP_K = 4;
export const TOY_RANK = 4;
const VOCAB = 40;
const EOS = 0;

/** A small fixed mixing of a list of numbers to a uint32. */
function mix(values: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const value of values) hash = Math.imul(hash ^ (value + 1), 0x01000193) ^ (hash >>> 13);
  return hash >>> 0;
}

/** The toy model: the next token depends on the last two. */
function toyNext(tokens: readonly number[]): number {
  return mix(tokens.slice(-2)) % VOCAB;
}

export function toyGreedy(prompt: readonly number[], maxTokens: number): number[] {
  const tokens = [...prompt];
  while (tokens.length - prompt.length < maxTokens) {
    tokens.push(toyNext(tokens));
    if (tokens.at(-1) === EOS) break;
  }
  return tokens.slice(prompt.length);
}

/** Heads that list the true token at a rank drawn from the context, among other tokens. */
function toyLattice(tokens: readonly number[], { heads, topK: k, pair }: OpenSpec): Lattice {
  const ids = new Uint32Array(heads * k);
  const logProbs = new Float32Array(heads * k);
  const future = [...tokens];
  for (let row = 0; row < heads; row++) {
    const truth = toyNext(future);
    future.push(truth);
    const rank = mix([...tokens.slice(-3), row]) % (TOY_TOP_K + 1);
    const others = Array.from({ length: VOCAB }, (_, i) => (truth + 1 + i * 7) % VOCAB).filter(
      (token) => token !== truth,
    );
    const candidates = [...others.slice(0, rank), truth, ...others.slice(rank)].slice(0, k);
    for (const [i, token] of candidates.entries()) {
      ids[row * k + i] = token;
      logProbs[row * k + i] = -0.3 - 0.731 * i;
    }
  }
  return createLattice(heads, k, ids, logProbs, pair === true ? toyQuery(tokens) : null);
}

function toyQuery(tokens: readonly number[]): PairQuery {
  const values = Int8Array.from({ length: 2 * TOY_RANK }, (_, i) => (mix([...tokens.slice(-2), i]) % 255) - 127);
  return { values, scales: [Math.fround(0.01), Math.fround(0.02)] };
}

/** What a node's chance has to be unless a draft is fixed. */
const THRESHOLD = 60;

/**
 * Verifies by asking the toy model at each node; shares no code with the real engine. Unless drafts are fixed it
 * leaves unlikely nodes out, and a lattice after a step that drafted nothing.
 */
export function toyEngine(next: (tokens: readonly number[]) => number = toyNext): StepEngine {
  return {
    async open(spec: OpenSpec) {
      const tokens = [...spec.prompt];
      const threshold = spec.fixed ? 0 : THRESHOLD;
      const result = (accepted: number[], path: readonly number[], lattices: boolean): StepResult => {
        tokens.push(...path);
        const bonus = next(tokens);
        tokens.push(bonus);
        const runnersUp = joinRunnersUp([...path, bonus].map((token) => toyRunnersUp(token, spec.runnersUp ?? 0)));
        const lattice = lattices ? toyLattice(tokens, spec) : EMPTY_LATTICE;
        const timing = { queueMs: 0, modelMs: 0, engineMs: 0 };
        return { accepted, bonus, lattice, logProbs: null, runnersUp, threshold, timing, load: IDLE };
      };
      return {
        bundle: toyInfo(),
        cachedTokens: 0,
        opened: result([], [], true),
        async step(_index: number, draft: DraftTree) {
          const accepted: number[] = [];
          const path: number[] = [];
          for (let node = ROOT; ; ) {
            const token = next([...tokens, ...path]);
            node = findChild(draft, node, token);
            if (node < 0 || draft.chances[node]! < threshold) {
              return result(accepted, path, spec.fixed || draft.tokens.length > 0);
            }
            accepted.push(node);
            path.push(token);
          }
        },
        close() {},
      };
    },
  };
}

/** The tokens after the chosen one. */
function toyRunnersUp(token: number, k: number): RunnersUp {
  const others = Array.from({ length: k }, (_, i) => (token + 1 + i) % VOCAB);
  return { k, tokens: Uint32Array.from(others), gaps: Uint8Array.from(others, (_, i) => 16 * (i + 1)) };
}

const COSTS = { pass: 1, row: 0, wanted: 0, context: 0, heads: 0 };

function toyInfo(): BundleInfo {
  return {
    model: "toy",
    tokenizerHash: "00",
    vocabSize: VOCAB,
    contextTokens: 512,
    latticeHeads: TOY_HEADS,
    topK: TOY_TOP_K,
    provider: "toy",
    costs: COSTS,
    neural: false,
  };
}

const FILE = { path: "", bytes: 0, sha256: "00" };

export const TOY_MANIFEST: BundleManifest = {
  format: 2,
  name: "toy",
  license: "",
  notice: null,
  architecture: {
    layers: 0,
    width: 0,
    heads: 0,
    kvHeads: 0,
    headDim: 0,
    ffn: 0,
    vocabSize: VOCAB,
    contextTokens: 512,
    normEps: 1e-5,
    ropeFrequencies: [],
  },
  precision: "fp32",
  taps: [],
  costs: COSTS,
  graphs: { base: FILE, heads: FILE, neural: null },
  latticeHeads: TOY_HEADS,
  topK: TOY_TOP_K,
  copyHeads: null,
  tokenizer: FILE,
  chatTemplate: null,
  bosToken: null,
  eosTokens: [EOS],
  packs: [],
  defaults: {
    heads: TOY_HEADS,
    topK: TOY_TOP_K,
    rescorer: { type: "none", model: "", order: 2, alpha: 0.5, pBest: 1 },
    neuralAlpha: 0.5,
  },
};

/** Text of this model: one character is one token. */
export const TOY_TEXT = {
  prompt: (text: string) => Uint32Array.from([...text], (c) => (c.codePointAt(0)! % (VOCAB - 1)) + 1),
  chat: (messages: readonly { role: string; content: string }[]) =>
    TOY_TEXT.prompt(messages.map(({ role, content }) => `${role}:${content};`).join("")),
  decode: (tokens: readonly number[]) => tokens.map((token) => String.fromCodePoint(64 + token)).join(""),
};
