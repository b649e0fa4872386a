import { blockEfficiency, type Counters } from "./counters.ts";

/** [lattice row] mean entropy, nats; row i is head i + 2, since head 1, the base model's own, has none. */
export function meanEntropies(counters: Counters): number[] {
  return counters.entropySum.map((total, row) => total / (counters.entropyCount[row] ?? 1));
}

/**
 * h_max of Kim et al. 2024: the last head up to which mean entropy rises from each draft head to the next.
 * Heads are numbered as in the glossary, so the least is 2.
 * @param entropies [lattice row], at least one
 */
export function lastRisingHead(entropies: readonly number[]): number {
  let row = 0;
  while (row + 1 < entropies.length && entropies[row + 1]! > entropies[row]!) row++;
  return row + 2;
}

/** One prompt or one task: where its heads stop getting less sure, and what its drafts were worth. */
export interface HmaxPoint {
  readonly name: string;
  readonly h_max: number;
  readonly block_efficiency: number;
}

/** null where no step was counted. */
export function hmaxPoint(name: string, counters: Counters): HmaxPoint | null {
  const entropies = meanEntropies(counters);
  const efficiency = blockEfficiency(counters);
  if (entropies.length === 0 || efficiency === null) return null;
  return { name, h_max: lastRisingHead(entropies), block_efficiency: efficiency };
}

/** Pearson's r; null where one side does not vary or there are fewer than three pairs. */
export function correlation(pairs: readonly (readonly [x: number, y: number])[]): number | null {
  const n = pairs.length;
  if (n < 3) return null;
  const meanX = pairs.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = pairs.reduce((sum, [, y]) => sum + y, 0) / n;
  let xx = 0;
  let yy = 0;
  let xy = 0;
  for (const [x, y] of pairs) {
    xx += (x - meanX) ** 2;
    yy += (y - meanY) ** 2;
    xy += (x - meanX) * (y - meanY);
  }
  return xx === 0 || yy === 0 ? null : xy / Math.sqrt(xx * yy);
}
