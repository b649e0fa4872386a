import { type Lattice, createLattice } from "../../shared/lattice.ts";
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

/** Text drawn from the pack itself, so that the benchmark needs no data file and orders match as in real text. */
export function sampleText(model: NgramModel, length: number, seed: number): Uint32Array {
  const random = prng(seed);
  const tokens = new Uint32Array(length);
  let state: LmState = EMPTY_STATE;
  for (let i = 0; i < length; i++) {
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

/**
 * Lattices like those of draft heads: the true continuation sits near the top in the first columns and sinks in
 * later ones; its rivals are likely successors of the token before and neighbours' tokens (the repetitions that
 * independent heads make); probabilities flatten with distance.
 */
export function sampleCases(model: NgramModel, count: number, heads: number, k: number, seed: number): Case[] {
  const random = prng(seed);
  const text = sampleText(model, count * 24 + heads + 8, seed + 1);
  return Array.from({ length: count }, (_, n) => {
    const at = n * 24 + 8;
    const tokens = new Uint32Array(heads * k);
    const logProbs = new Float32Array(heads * k);
    for (let i = 0; i < heads; i++) {
      const column = new Set<number>();
      const rank = Math.min(k - 1, Math.floor(-Math.log(1 - random()) * (0.3 + 0.9 * i)));
      while (column.size < k) {
        if (column.size === rank && !column.has(text[at + i]!)) column.add(text[at + i]!);
        else column.add(rival(model, text, at + i, random));
      }
      tokens.set([...column].slice(0, k), i * k);
      const slope = 2.2 / (1 + 0.25 * i);
      const total = Array.from({ length: 64 }, (_, r) => (r + 1) ** -slope).reduce((a, b) => a + b, 0);
      for (let r = 0; r < k; r++) logProbs[i * k + r] = -slope * Math.log(r + 1 + 0.3 * random()) - Math.log(total);
      logProbs.subarray(i * k, (i + 1) * k).sort().reverse();
    }
    return { history: text.slice(at - 8, at), lattice: createLattice(heads, k, tokens, logProbs) };
  });
}

function rival(model: NgramModel, text: Uint32Array, at: number, random: () => number): number {
  const kind = random();
  if (kind < 0.25) return text[at + Math.floor(random() * 5) - 2]!;
  const before = text[at - 1 - Math.floor(random() * 2)]!;
  return drawToken(model, kind < 0.85 ? model.contextOf(before) : EMPTY_STATE, random());
}
