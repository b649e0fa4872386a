import { createLattice, type Lattice } from "../../shared/lattice.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../../shared/ngram/model.ts";

/** Deterministic numbers in [0, 1). */
export function prng(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Tokens after which drawn text starts afresh: left alone, a pack of a model's own text draws one loop for ever. */
const PASSAGE = 24;

/** Text drawn from the pack itself, so that the benchmark needs no data file and orders match as in real text. */
export function sampleText(model: NgramModel, length: number, seed: number): Uint32Array {
  const random = prng(seed);
  const tokens = new Uint32Array(length);
  let state: LmState = EMPTY_STATE;
  for (let i = 0; i < length; i++) {
    if (i % PASSAGE === 0) state = EMPTY_STATE;
    tokens[i] = drawToken(model, state, random());
    model.score(state, tokens[i]!);
    state = model.next;
  }
  return tokens;
}

function drawToken(model: NgramModel, state: LmState, at: number): number {
  const { childLow, childHigh, words, probs, probTable } = model.arrays;
  const start = (context: number) => childLow[context]! | (childHigh[context]! << 16);
  let left = at;
  for (let context = state; ; context = model.suffix(context)) {
    for (let entry = start(context); entry < start(context + 1); entry++) {
      left -= Math.exp(probTable[probs[entry]!]!);
      if (left <= 0) return context === EMPTY_STATE ? entry : words[entry - model.shape.vocabSize]!;
    }
    if (context === EMPTY_STATE) return 0;
  }
}

export interface Case {
  /** Committed tokens before the lattice. */
  readonly history: Uint32Array;
  readonly lattice: Lattice;
}

export const HEADS = 8;
export const K = 16;

/** One record: 8 committed tokens (u16), then HEADS x K token ids (u16), then as many log-probabilities (f32). */
const HISTORY = 8;
const RECORD_BYTES = 2 * HISTORY + 6 * HEADS * K;

/**
 * Lattices of the draft heads after random positions of the base model's own completions, taken
 * from training data so that no evaluation text is looked at here: bench/rescore/lattices.bin.
 */
export function readCases(bytes: Uint8Array): Case[] {
  const data = bytes.slice().buffer;
  return Array.from({ length: Math.floor(data.byteLength / RECORD_BYTES) }, (_, n) => {
    const at = n * RECORD_BYTES;
    const ids = new Uint16Array(data, at, HISTORY + HEADS * K);
    const logProbs = new Float32Array(data, at + 2 * (HISTORY + HEADS * K), HEADS * K);
    return {
      history: Uint32Array.from(ids.subarray(0, HISTORY)),
      lattice: createLattice(HEADS, K, Uint32Array.from(ids.subarray(HISTORY)), logProbs),
    };
  });
}
