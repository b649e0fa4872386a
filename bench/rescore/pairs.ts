import { type Case, prng } from "./inputs.ts";

/** Numbers per token, and tokens at most, of random tables: as many as the model's own would have. */
const RANK = 64;
const TOKENS = 32_000;

/** How far 1 + m is from 1, and q from 0. */
const SPREAD = 0.5;

/**
 * A pair.safetensors of random numbers for the first ids of a vocabulary, which are its commonest tokens: they decide
 * what is drafted, hardly what it costs.
 */
export function randomPairFile(vocabSize: number, seed: number): Uint8Array<ArrayBuffer> {
  const random = prng(seed);
  const rows = Math.min(vocabSize, TOKENS);
  const bytes = () => Int8Array.from({ length: rows * RANK }, () => 255 * random() - 127);
  // A score is then of the size of a trained one: a few nats.
  const scales = () => new Float32Array(rows).fill(1 / 200);
  const tensors = {
    ids: ["I32", [rows], Int32Array.from({ length: rows }, (_, id) => id)],
    first: ["I8", [rows, RANK], bytes()],
    "first.scales": ["F32", [rows], scales()],
    second: ["I8", [rows, RANK], bytes()],
    "second.scales": ["F32", [rows], scales()],
    bias: ["F32", [rows], Float32Array.from({ length: rows }, () => random() - 0.5)],
  } as const;
  let end = 0;
  const entries = Object.entries(tensors).map(([name, [dtype, shape, values]]) => {
    const data_offsets = [end, (end += values.byteLength)];
    return [name, { dtype, shape, data_offsets }] as const;
  });
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const file = new Uint8Array(8 + header.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  let at = 8 + header.length;
  for (const [, , values] of Object.values(tensors)) {
    file.set(new Uint8Array(values.buffer), at);
    at += values.byteLength;
  }
  return file;
}

/** The cases, each with a random query for tables of that rank. */
export function withQueries(cases: readonly Case[], rank: number): Case[] {
  const random = prng(11);
  const scale = Math.fround(SPREAD / 127);
  return cases.map(({ history, lattice }) => {
    const values = Int8Array.from({ length: 2 * rank }, () => 255 * random() - 127);
    return { history, lattice: { ...lattice, query: { values, scales: [scale, scale] } } };
  });
}
