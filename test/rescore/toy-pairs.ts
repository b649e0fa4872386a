import type { Lattice, PairQuery } from "../../shared/lattice.ts";
import { createLattice } from "../../shared/lattice.ts";
import { PairTables } from "../../shared/rescore/pair-scores.ts";
import type { Random } from "../helpers/random.ts";

export interface ToyTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly values: Int8Array | Int32Array | Float32Array;
}

/** A safetensors file, its data right behind a header of any length, so aligned to nothing. */
export function safetensors(tensors: Readonly<Record<string, ToyTensor>>): Uint8Array<ArrayBuffer> {
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape, values }]) => [
      name,
      { dtype, shape, data_offsets: [end, (end += values.byteLength)] },
    ]),
  );
  const json = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + end);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  let at = 8 + json.length;
  for (const { values } of Object.values(tensors)) {
    out.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return out;
}

/** Tensors of every second token up to `vocabSize`: eighths, so that sums are exact and may tie. */
export function toyTensors(random: Random, vocabSize: number, rank: number): Record<string, ToyTensor> {
  const ids = Array.from({ length: vocabSize }, (_, token) => token).filter((token) => token % 2 === 0);
  const count = ids.length;
  const bytes = () => Int8Array.from({ length: count * rank }, () => random.int(-4, 4));
  const scales = () => Float32Array.from({ length: count }, () => random.pick([0.125, 0.25]));
  const bias = Float32Array.from({ length: count }, () => random.int(-8, 8) / 8);
  return {
    ids: { dtype: "I32", shape: [count], values: Int32Array.from(ids) },
    first: { dtype: "I8", shape: [count, rank], values: bytes() },
    "first.scales": { dtype: "F32", shape: [count], values: scales() },
    second: { dtype: "I8", shape: [count, rank], values: bytes() },
    "second.scales": { dtype: "F32", shape: [count], values: scales() },
    bias: { dtype: "F32", shape: [count], values: bias },
  };
}

/** Tables, and what they mean, spelled out. */
export function toyPairs(random: Random, vocabSize: number, rank = 4) {
  const tensors = toyTensors(random, vocabSize, rank);
  const { ids, first, second, bias } = tensors as Record<"ids" | "first" | "second" | "bias", ToyTensor>;
  const row = (token: number) => ids.values.indexOf(token);
  const value = (table: ToyTensor, name: string, of: number, r: number) =>
    table.values[of * rank + r]! * tensors[`${name}.scales`]!.values[of]!;
  const score = (query: PairQuery | null, a: number, b: number): number => {
    if (query === null || row(b) < 0) return 0;
    const { values, scales } = query;
    const x = Array.from({ length: rank }, (_, r) => {
      const known = row(a) < 0 ? 0 : value(first, "first", row(a), r);
      return (1 + scales[0] * values[r]!) * known + scales[1] * values[rank + r]!;
    });
    return bias.values[row(b)]! + x.reduce((sum, xr, r) => sum + xr * value(second, "second", row(b), r), 0);
  };
  const bytes = safetensors(tensors);
  return { bytes, tables: new PairTables(bytes), score };
}

export function toyQuery(random: Random, rank = 4): PairQuery {
  return { values: Int8Array.from({ length: 2 * rank }, () => random.int(-4, 4)), scales: [0.125, 0.25] };
}

export function withQuery({ heads, k, tokens, logProbs }: Lattice, query: PairQuery | null): Lattice {
  return createLattice(heads, k, tokens, logProbs, query);
}
