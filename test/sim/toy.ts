import type { DraftTree } from "../../shared/draft-tree.ts";
import type { BundleInfo, CancelSignal, OpenSpec, StepEngine, StepResult } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { ROOT } from "../../shared/ids.ts";
import { createLattice, EMPTY_LATTICE, type Lattice } from "../../shared/lattice.ts";
import { Random } from "../helpers/random.ts";

/** A toy base model with heads that are right as often as `skill` says. Everything follows from `seed`. */
export interface ToyModel {
  readonly vocabSize: number;
  readonly heads: number;
  readonly topK: number;
  /** The base head's next token after `tokens`. */
  next(tokens: readonly number[]): number;
  /** Candidates for the positions after `tokens`, whose last one is the bonus token. */
  lattice(tokens: readonly number[], heads: number, topK: number): Lattice;
}

export function randomToyModel(random: Random): ToyModel {
  const seed = random.int(0, 2 ** 31);
  const vocabSize = random.int(2, 40);
  const heads = random.int(0, 8);
  const topK = Math.min(vocabSize, random.int(1, 16));
  const memory = random.int(1, 3);
  const skill = random.unit();
  const ties = random.chance(0.3);
  const next = (tokens: readonly number[]) => new Random(mix(seed, tokens.slice(-memory))).int(0, vocabSize - 1);
  return {
    vocabSize,
    heads,
    topK,
    next,
    lattice(tokens, rows, columns) {
      const draw = new Random(mix(seed + 1, tokens.slice(-4)));
      const ids = new Uint32Array(rows * columns);
      const logProbs = new Float32Array(rows * columns);
      const future = [...tokens];
      for (let row = 0; row < rows; row++) {
        const truth = next(future);
        future.push(truth);
        const order = shuffled(draw, vocabSize);
        const rank = draw.chance(skill) ? draw.int(0, Math.min(2, vocabSize - 1)) : vocabSize - 1;
        order.splice(order.indexOf(truth), 1);
        order.splice(rank, 0, truth);
        let logProb = -draw.unit();
        const candidates = order.slice(0, columns).map((token) => {
          const entry = { token, logProb };
          if (!ties || draw.chance(0.5)) logProb -= draw.unit();
          return entry;
        });
        candidates.sort((a, b) => b.logProb - a.logProb || a.token - b.token);
        candidates.forEach(({ token, logProb: value }, column) => {
          ids[row * columns + column] = token;
          logProbs[row * columns + column] = value;
        });
      }
      return createLattice(rows, columns, ids, logProbs);
    },
  };
}

/** Plain decoding: one token after the other, through one that ends the text or up to `maxTokens`. */
export function plainText(
  model: ToyModel,
  prompt: readonly number[],
  maxTokens: number,
  eos: readonly number[],
): number[] {
  const out: number[] = [];
  while (out.length < maxTokens) {
    const token = model.next([...prompt, ...out]);
    out.push(token);
    if (eos.includes(token)) break;
  }
  return out;
}

export interface ToyEngineOptions {
  /** Awaited before each reply; may be slow or throw. `call` 0 is the prefill. */
  readonly before?: (call: number) => Promise<void>;
  /** Sees every draft. */
  readonly onDraft?: (draft: DraftTree) => void;
}

/**
 * Verifies by asking the toy model at every node, one node after the other: slow, plain and sharing no
 * code with gpu-worker/verify.ts.
 */
export function toyEngine(
  model: ToyModel,
  options: ToyEngineOptions = {},
): StepEngine & { readonly openSessions: number } {
  let open = 0;
  return {
    get openSessions() {
      return open;
    },
    async open(spec: OpenSpec, signal: CancelSignal) {
      const tokens = [...spec.prompt];
      let calls = 0;
      let closed = false;
      const call = async (accepted: readonly number[], path: readonly number[]): Promise<StepResult> => {
        await options.before?.(calls++);
        if (signal.aborted) throw new StepError("client_closed", "cancelled");
        tokens.push(...path);
        const bonus = model.next(tokens);
        tokens.push(bonus);
        const lattice = spec.heads === 0 ? EMPTY_LATTICE : model.lattice(tokens, spec.heads, spec.topK);
        return { accepted, bonus, lattice, logProbs: null, timing: { queueMs: 0, modelMs: 1, engineMs: 0 } };
      };
      const opened = await call([], []);
      open++;
      return {
        bundle: toyInfo(model),
        opened,
        step(_index: number, draft: DraftTree) {
          options.onDraft?.(draft);
          const { accepted, path } = walk(model, tokens, draft);
          return call(accepted, path);
        },
        close() {
          if (!closed) open--;
          closed = true;
        },
      };
    },
  };
}

/** The accepted path: from the root on, the one child, if any, that holds the model's next token. */
function walk(model: ToyModel, tokens: readonly number[], draft: DraftTree) {
  const accepted: number[] = [];
  const path: number[] = [];
  for (let parent = ROOT; ; ) {
    const token = model.next([...tokens, ...path]);
    const child = draft.tokens.findIndex((t, i) => t === token && draft.parents[i] === parent);
    if (child < 0) return { accepted, path };
    accepted.push(child);
    path.push(token);
    parent = child;
  }
}

function toyInfo(model: ToyModel): BundleInfo {
  return {
    model: "toy",
    tokenizerHash: "",
    vocabSize: model.vocabSize,
    contextTokens: 1024,
    latticeHeads: model.heads,
    topK: model.topK,
    provider: "toy",
    costCurve: [
      [1, 5],
      [8, 9],
      [32, 30],
    ],
  };
}

function shuffled(random: Random, length: number): number[] {
  const out = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = random.int(0, i);
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

function mix(seed: number, values: readonly number[]): number {
  let hash = seed >>> 0;
  for (const value of values) hash = Math.imul(hash ^ (value + 1), 0x01000193) ^ (hash >>> 15);
  return hash >>> 0;
}
