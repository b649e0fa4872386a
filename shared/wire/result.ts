import { assert } from "../assert.ts";
import { CERTAIN } from "../draft-tree.ts";
import type { Load, StepResult, StepTiming, TokenLogProbs } from "../engine.ts";
import { createLattice, type Lattice, type PairQuery } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { NO_RUNNERS_UP, type RunnersUp } from "../runners-up.ts";
import type { Fields } from "./fields.ts";
import * as pack from "./packed.ts";

/** What a step yields, as fields of a frame (codec.ts). */
export function resultFields(result: StepResult): unknown[] {
  const { accepted, bonus, lattice, logProbs, threshold, timing, load, runnersUp = NO_RUNNERS_UP } = result;
  return [
    Uint8Array.from(accepted),
    bonus,
    ...latticeFields(lattice),
    threshold,
    pack.float32([timing.queueMs, timing.modelMs, timing.engineMs, load.passMs]),
    ...loadFields(load),
    logProbs === null ? null : logProbFields(logProbs),
    runnersUpFields(runnersUp),
  ];
}

/** Reads to the end of `fields`. Throws StepError "bad_frame", as all that follows. */
export function decodeResult(fields: Fields): StepResult {
  const accepted = Array.from(fields.bytes(LIMITS.draftNodes));
  if (accepted.some((node, i) => node >= LIMITS.draftNodes || node <= (accepted[i - 1] ?? -1))) {
    throw fields.fault("the accepted path does not descend");
  }
  const bonus = fields.integer(0, 0xffffffff);
  const lattice = decodeLattice(fields);
  const threshold = fields.integer(0, CERTAIN + 1);
  const [queueMs, modelMs, engineMs, passMs] = times(fields, 4);
  const timing: StepTiming = { queueMs: queueMs!, modelMs: modelMs!, engineMs: engineMs! };
  const load: Load = { ...decodeLoad(fields), passMs: passMs! };
  const logProbs = fields.nullable(() => decodeLogProbs(fields.array(), accepted.length + 1));
  const runnersUp = decodeRunnersUp(fields, accepted.length + 1);
  return { accepted, bonus, lattice, logProbs, runnersUp, threshold, timing, load };
}

export function runnersUpFields({ k, tokens, gaps }: RunnersUp): unknown[] | null {
  return k === 0 ? null : [k, ...pack.tokens(tokens), gaps];
}

/** Of `rows` committed tokens. */
export function decodeRunnersUp(fields: Fields, rows: number): RunnersUp {
  const all = fields.nullable(() => fields.array());
  if (all === null) return NO_RUNNERS_UP;
  const k = all.integer(1, LIMITS.runnersUp);
  const tokens = all.tokens(rows * k, rows * k);
  const gaps = Uint8Array.from(all.bytes(rows * k));
  if (gaps.length !== rows * k) throw all.fault("not a gap for every runner-up");
  all.end();
  return { k, tokens, gaps };
}

/** A load but for its time, which travels with others. */
export function loadFields({ running, waiting, kvUsed }: Load): number[] {
  return [running, waiting, Math.round(kvUsed * 255)];
}

export function decodeLoad(fields: Fields): Omit<Load, "passMs"> {
  const running = fields.integer(0, 0xffff);
  const waiting = fields.integer(0, 0xffff);
  return { running, waiting, kvUsed: fields.integer(0, 255) / 255 };
}

export function latticeFields({ heads, k, tokens, logProbs, query }: Lattice): unknown[] {
  return [heads, k, ...pack.tokens(tokens), pack.float16(logProbs), query && pack.query(query)];
}

/** Rounding to float16 keeps the candidates' order; distinct log-probabilities may become equal. */
export function decodeLattice(fields: Fields): Lattice {
  const heads = fields.integer(0, LIMITS.latticeHeads);
  const k = fields.integer(0, LIMITS.topK);
  const tokens = fields.tokens(heads * k, heads * k);
  const logProbs = fields.float16(heads * k);
  for (let row = 0; row < heads; row++) checkFalling(fields, logProbs.subarray(row * k, (row + 1) * k));
  const query = fields.nullable(() => decodeQuery(fields));
  return createLattice(heads, k, tokens, logProbs, query);
}

function decodeQuery(fields: Fields): PairQuery {
  const query = pack.unpackQuery(fields.bytes(pack.SCALE_BYTES + 2 * LIMITS.pairRank));
  const rank = query.values.length / 2;
  if (!Number.isInteger(rank) || rank === 0) throw fields.fault("no two halves of a query");
  if (!query.scales.every((scale) => scale > 0 && scale < Infinity)) throw fields.fault("a query's scale out of range");
  return query;
}

/** `count` times, ms. */
export function times(fields: Fields, count: number): Float32Array {
  const all = fields.float32(count);
  for (const ms of all) if (!(ms >= 0 && ms < Infinity)) throw fields.fault("a time below zero");
  return all;
}

export function logProbFields(entries: readonly TokenLogProbs[]): unknown[] {
  const top = entries[0]?.topTokens.length ?? 0;
  assert(
    entries.every((e) => e.topTokens.length === top && e.topLogProbs.length === top),
    "every token has the same number of alternatives",
  );
  return [
    top,
    pack.float32(entries.map((e) => e.logProb)),
    ...pack.tokens(entries.flatMap((e) => Array.from(e.topTokens))),
    pack.float32(entries.flatMap((e) => Array.from(e.topLogProbs))),
  ];
}

/** [count] */
export function decodeLogProbs(fields: Fields, count: number): TokenLogProbs[] {
  const top = fields.integer(0, LIMITS.topLogProbs);
  const chosen = fields.float32(count);
  const tokens = fields.tokens(count * top, count * top);
  const logProbs = fields.float32(count * top);
  fields.end();
  return Array.from(chosen, (logProb, i) => {
    const topLogProbs = logProbs.slice(i * top, (i + 1) * top);
    checkFalling(fields, [logProb]);
    checkFalling(fields, topLogProbs);
    return { logProb, topTokens: tokens.slice(i * top, (i + 1) * top), topLogProbs };
  });
}

function checkFalling(fields: Fields, logProbs: ArrayLike<number>): void {
  let last = 0;
  for (let i = 0; i < logProbs.length; i++) {
    const next = logProbs[i]!;
    if (!(next <= last)) throw fields.fault("log-probabilities do not fall from 0");
    last = next;
  }
}
