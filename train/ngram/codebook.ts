import { CODES } from "../../shared/ngram/layout.ts";

const FINE = 1 << 14;
const ROUNDS = 40;

/**
 * `size` values, rising, `always` among them: the given ones themselves where there are few enough, so that a pack
 * exported and imported again loses nothing; else near them, by Lloyd's algorithm on a histogram, started from
 * quantiles.
 */
export function fitCodebook(values: Iterable<Float32Array>, always: number, size: number = CODES): Float32Array {
  const few = distinctValues(values, always, size);
  if (few !== null) return few;
  const histogram = new Float64Array(FINE);
  let low = always;
  let high = always;
  for (const part of values) {
    for (const value of part) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  const width = (high - low) / FINE || 1;
  const binOf = (value: number) => Math.min(FINE - 1, Math.floor((value - low) / width));
  for (const part of values) for (const value of part) histogram[binOf(value)]!++;
  const centres = lloyd(histogram, size - 1);
  const table = Float32Array.from(centres, (centre) => low + (centre + 0.5) * width);
  return Float32Array.from([...table, always]).sort();
}

/** All different values and `always`, the latter repeated to fill the table; null where they are more than `size`. */
function distinctValues(values: Iterable<Float32Array>, always: number, size: number): Float32Array | null {
  const seen = new Set([always]);
  for (const part of values) {
    for (const value of part) {
      seen.add(value);
      if (seen.size > size) return null;
    }
  }
  const table = new Float32Array(size).fill(always);
  table.set([...seen]);
  return table.sort();
}

/** Centres, in fine bins, of `size` cells. The square root spreads some codes over rare, extreme values. */
function lloyd(histogram: Float64Array, size: number): Float64Array {
  const mass = new Float64Array(FINE + 1);
  const moment = new Float64Array(FINE + 1);
  const spread = new Float64Array(FINE + 1);
  for (let i = 0; i < FINE; i++) {
    mass[i + 1] = mass[i]! + histogram[i]!;
    moment[i + 1] = moment[i]! + i * histogram[i]!;
    spread[i + 1] = spread[i]! + Math.sqrt(histogram[i]!);
  }
  const centres = new Float64Array(size);
  for (let c = 0, i = 0; c < size; c++) {
    while (i < FINE - 1 && spread[i + 1]! * size < spread[FINE]! * (c + 0.5)) i++;
    centres[c] = i;
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (let c = 0, from = 0; c < size; c++) {
      const to = c + 1 < size ? Math.min(FINE, Math.max(from, Math.ceil((centres[c]! + centres[c + 1]!) / 2))) : FINE;
      const weight = mass[to]! - mass[from]!;
      if (weight > 0) centres[c] = (moment[to]! - moment[from]!) / weight;
      from = to;
    }
  }
  return centres.sort();
}

/** Index of the nearest table value. */
export function nearestCode(table: Float32Array, value: number): number {
  const above = ceilingCode(table, value);
  if (above === 0) return 0;
  return table[above]! - value < value - table[above - 1]! ? above : above - 1;
}

/** Lowest index whose value is at least `value`; the last where none is. */
export function ceilingCode(table: Float32Array, value: number): number {
  let low = 0;
  let high = table.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (table[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
