import { createLattice, type Lattice } from "../../shared/lattice.ts";
import { EMPTY_STATE, type NgramModel } from "../../shared/ngram/model.ts";
import { CALIBRATION_VERSION, type Calibration, EVIDENCE, evidenceOf } from "../../shared/rescore/calibration.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { edgeScore } from "../../shared/rescore/lattice-columns.ts";

export interface LatticeOptions {
  readonly heads: number;
  readonly k: number;
  readonly vocabSize: number;
  /** Log-probabilities are multiples of this: coarse ones tie often. */
  readonly step: number;
  /** Share of candidates with probability zero. */
  readonly impossible?: number;
  /** Whether a column may hold a token twice. */
  readonly repeats?: boolean;
}

/** A lattice as the heads would give it: sorted falling, equal ones rising in token id. */
export function randomLattice(random: () => number, options: LatticeOptions): Lattice {
  const { heads, k, vocabSize, step, impossible = 0, repeats = false } = options;
  const tokens = new Uint32Array(heads * k);
  const logProbs = new Float32Array(heads * k);
  for (let i = 0; i < heads; i++) {
    const pool = Array.from({ length: vocabSize }, (_, token) => token).sort(() => random() - 0.5);
    const row = Array.from({ length: k }, (_, r) => ({
      token: repeats ? Math.floor(random() * vocabSize) : pool[r]!,
      logProb: random() < impossible ? -Infinity : -step * Math.floor(1 + (random() * 4) / step),
    }));
    row.sort((a, b) => (b.logProb === a.logProb ? a.token - b.token : b.logProb - a.logProb));
    row.forEach(({ token, logProb }, r) => {
      tokens[i * k + r] = token;
      logProbs[i * k + r] = logProb;
    });
  }
  return createLattice(heads, k, tokens, logProbs);
}

export interface ScoredPath {
  readonly ranks: readonly number[];
  readonly score: number;
}

/** Every path of the first `columns` columns, best first: the definition the search must meet. */
export function allPaths(
  lattice: Lattice,
  columns: number,
  model: NgramModel | null,
  alpha: number,
  state: number,
): ScoredPath[] {
  const out: ScoredPath[] = [];
  const walk = (ranks: number[], score: number, at: number): void => {
    const i = ranks.length;
    if (i === columns) {
      out.push({ ranks, score });
      return;
    }
    const seen = new Set<number>();
    for (let r = 0; r < lattice.k; r++) {
      const token = lattice.tokens[i * lattice.k + r]!;
      if (seen.has(token)) continue;
      seen.add(token);
      const lm = model === null ? 0 : model.score(at, token);
      const next = model === null ? EMPTY_STATE : model.next;
      walk([...ranks, r], score + edgeScore(alpha, lattice.logProbs[i * lattice.k + r]!, lm), next);
    }
  };
  walk([], 0, state);
  const earlier = (a: readonly number[], b: readonly number[]): number => {
    const i = a.findIndex((rank, at) => rank !== b[at]);
    return i < 0 ? 0 : a[i]! - b[i]!;
  };
  return out.sort((a, b) => b.score - a.score || earlier(a.ranks, b.ranks));
}

/** Weights without meaning but of a plausible size: what holds for them holds for any. */
export function randomCalibration(random: () => number): Calibration {
  const weights = () => Array.from({ length: WEIGHTS }, () => 2 * random() - 0.5);
  return {
    version: CALIBRATION_VERSION,
    command: "",
    pack: null,
    weights: Object.fromEntries(EVIDENCE.map((kinds) => [evidenceOf(kinds), weights()])),
  };
}
