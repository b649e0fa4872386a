export interface Counts {
  readonly tokens: number;
  readonly steps: number;
}

export type Interval = readonly [low: number, high: number];

const RESAMPLES = 1000;

/** Uniform numbers in [0, 1) from a uint32 seed: the "mulberry32" generator. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * 95 % percentile bootstrap over prompts of sum(tokens) / sum(steps); null where nothing was counted.
 * Prompts, not steps, are resampled: steps of one completion are not independent.
 */
export function efficiencyInterval(prompts: readonly Counts[], seed: number): Interval | null {
  return interval(prompts.length, seed, (picked) => ratio(prompts, picked));
}

/** The same for one method's efficiency over another's, minus 1; both lists hold the same prompts. */
export function gainInterval(method: readonly Counts[], base: readonly Counts[], seed: number): Interval | null {
  return interval(method.length, seed, (picked) => ratio(method, picked) / ratio(base, picked) - 1);
}

/** The same for any statistic of things that are resampled together; null where it never has a value. */
export function statisticInterval<Thing>(
  things: readonly Thing[],
  seed: number,
  statistic: (picked: readonly Thing[]) => number | null,
): Interval | null {
  return interval(things.length, seed, (picked) => statistic(Array.from(picked, (i) => things[i]!)) ?? NaN);
}

function ratio(prompts: readonly Counts[], picked: Uint32Array): number {
  let tokens = 0;
  let steps = 0;
  for (const i of picked) {
    tokens += prompts[i]!.tokens;
    steps += prompts[i]!.steps;
  }
  return tokens / steps;
}

function interval(prompts: number, seed: number, statistic: (picked: Uint32Array) => number): Interval | null {
  if (prompts === 0) return null;
  const random = seededRandom(seed);
  const picked = new Uint32Array(prompts);
  const values: number[] = [];
  for (let round = 0; round < RESAMPLES; round++) {
    for (let i = 0; i < prompts; i++) picked[i] = Math.floor(random() * prompts);
    const value = statistic(picked);
    if (Number.isFinite(value)) values.push(value);
  }
  if (values.length === 0) return null;
  values.sort((a, b) => a - b);
  return [values[Math.floor(0.025 * values.length)]!, values[Math.ceil(0.975 * values.length) - 1]!];
}
