import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { readBundle } from "../gpu-worker/bundle.ts";
import { defaultCacheDir } from "../gpu-worker/config.ts";
import { IntegerModel } from "../gpu-worker/integer/model.ts";
import { PAGE_TOKENS, type Segment } from "../gpu-worker/model.ts";
import { type PendingTensor, writeSafetensors } from "../models/safetensors-writer.ts";
import type { Text } from "./text.ts";
import type { Work } from "./work.ts";

/** The base model's own likeliest tokens that a head learns from, as train/heads.py reads them. */
const TOP = 8;
/** Nats below the likeliest token; what lies further is a thousandth of the mass at most, in a vocabulary of 65,536. */
const NEGLIGIBLE = 18;
/** Texts whose features are written as one: what is in memory at once. */
const SHARD = 64;
/** Rows whose logits are in memory at once. */
const ROWS = 64;

/** Blocks whose output the heads read: after a third and after two thirds. */
export function tapsOf(layers: number): number[] {
  const after = (share: number) => Math.max(0, Math.round(layers * share) - 1);
  return [...new Set([after(1 / 3), after(2 / 3)])];
}

/**
 * Reads the texts with the integer model and writes shards for train/heads.py: what heads would have seen at each place,
 * what the model thought would follow, and what did. Each is NNNN.safetensors and NNNN.features.npy. Stops when the
 * step's time is spent; shards that are there stay. Resolves how many texts they hold.
 */
export async function writeFeatures(
  work: Work,
  dir: string,
  bundleDir: string,
  texts: readonly Text[],
  threads: number | null,
  onProgress: (share: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const count = Math.ceil(texts.length / SHARD);
  const textsOf = (shard: number) => texts.slice(shard * SHARD, (shard + 1) * SHARD);
  const isDone = (shard: number) => work.isDone(`shard ${shard}`, String(textsOf(shard).length));
  let first = 0;
  while (first < count && isDone(first)) first++;
  const upTo = (shard: number) => Math.min(texts.length, shard * SHARD);
  if (first === count || (work.left("features") === 0 && first > 0)) return upTo(first);
  const model = await loadTapped(bundleDir, threads);
  try {
    return await work.timed("features", async (tick) => {
      for (let shard = first; shard < count; shard++) {
        const own = textsOf(shard);
        await writeShard(dir, shard, own, model, signal);
        await work.finish(`shard ${shard}`, String(own.length));
        const share = Math.max(await tick(), (shard + 1) / count);
        onProgress(Math.min(1, share));
        if (share >= 1) return upTo(shard + 1);
      }
      return texts.length;
    });
  } finally {
    await model.release();
  }
}

async function loadTapped(bundleDir: string, threads: number | null): Promise<IntegerModel> {
  const { shape, precision, ropeFrequencies, basePath } = await readBundle(bundleDir);
  if (precision !== "int8") throw new Error("draft heads are trained for models that run in int8 only");
  const members = threads ?? availableParallelism();
  const none = { latticeHeads: 0, topK: 0, copyHeads: null, taps: tapsOf(shape.layers) };
  return await IntegerModel.load({
    shape: { ...shape, ...none, kvBytes: 1 << 29, members },
    ropeFrequencies,
    weightsPath: basePath,
    headsPath: null,
    cacheDir: defaultCacheDir(),
  });
}

/** Arrays of a shard as they grow; train/generate.py says what each is. */
interface Growing {
  readonly features: Uint16Array[];
  readonly tokens: number[];
  readonly topIds: number[];
  readonly topLogp: number[];
  readonly offsets: number[];
  readonly prompts: number[];
  readonly promptOffsets: number[];
}

async function writeShard(
  dir: string,
  shard: number,
  texts: readonly Text[],
  model: IntegerModel,
  signal: AbortSignal,
): Promise<void> {
  const out: Growing = {
    features: [],
    tokens: [],
    topIds: [],
    topLogp: [],
    offsets: [0],
    prompts: [],
    promptOffsets: [0],
  };
  for (const text of texts) {
    signal.throwIfAborted();
    await read(text, model, out);
  }
  const name = `${dir}/${String(shard).padStart(4, "0")}`;
  await writeFile(`${name}.features.npy`, npy(out.features));
  const ints = (key: string, values: readonly number[], ...shape: number[]): PendingTensor => {
    return { name: key, dtype: "I32", shape, make: () => Int32Array.from(values) };
  };
  const positions = out.tokens.length;
  await writeSafetensors(
    `${name}.safetensors`,
    [
      ints("offsets", out.offsets, out.offsets.length),
      ints("tokens", out.tokens, positions),
      ints("prompts", out.prompts, out.prompts.length),
      ints("prompt_offsets", out.promptOffsets, out.promptOffsets.length),
      ints(
        "prompt_of",
        texts.map((_, i) => i),
        texts.length,
      ),
      ints(
        "greedy",
        texts.map(() => 1),
        texts.length,
      ),
      ints("top_ids", out.topIds, positions, TOP),
      { name: "top_logp", dtype: "F32", shape: [positions, TOP], make: () => Float32Array.from(out.topLogp) },
    ],
    () => undefined,
  );
}

async function read({ prompt, output }: Text, model: IntegerModel, out: Growing): Promise<void> {
  const all = [...prompt, ...output];
  const pages = Int32Array.from({ length: Math.ceil(all.length / PAGE_TOKENS) }, (_, i) => i);
  const segment = (from: number, to: number, wanted: Segment["wanted"]): Segment => {
    return {
      length: from,
      pages,
      tokens: Uint32Array.from(all.slice(from, to)),
      parents: null,
      wanted,
      logits: wanted === "all",
    };
  };
  const start = prompt.length - 1;
  for (let at = 0; at < start; at += model.maxRows) {
    await model.forward([segment(at, Math.min(start, at + model.maxRows), "none")]);
  }
  for (let at = start; at < all.length; at += ROWS) {
    const end = Math.min(all.length, at + ROWS);
    const { logits } = await model.forward([segment(at, end, "all")]);
    for (let row = 0; row < end - at; row++) {
      out.features.push(bfloat16(model.features(row)));
      const top = likeliest(logits(row));
      out.topIds.push(...top.ids);
      out.topLogp.push(...top.logp);
    }
  }
  out.tokens.push(...all.slice(start));
  out.offsets.push(out.tokens.length);
  out.prompts.push(...prompt.slice(0, -1));
  out.promptOffsets.push(out.prompts.length);
}

function likeliest(logits: Float32Array): { ids: number[]; logp: number[] } {
  const ids: number[] = [];
  // Of the last of `ids` once they are complete: nearly all logits end here.
  let least = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id]!;
    if (value <= least) continue;
    let at = ids.length;
    while (at > 0 && logits[ids[at - 1]!]! < value) at--;
    ids.splice(at, 0, id);
    if (ids.length > TOP) ids.pop();
    if (ids.length === TOP) least = logits[ids[TOP - 1]!]!;
  }
  const most = logits[ids[0]!]!;
  let mass = 0;
  for (let id = 0; id < logits.length; id++) {
    const nats = logits[id]! - most;
    if (nats > -NEGLIGIBLE) mass += Math.exp(nats);
  }
  return { ids, logp: ids.map((id) => logits[id]! - most - Math.log(mass)) };
}

/** The upper halves, rounded to even, as torch's bfloat16. */
function bfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
}

/** NumPy's file of uint16 rows. */
function npy(rows: readonly Uint16Array[]): Uint8Array {
  const columns = rows[0]?.length ?? 0;
  const head = `{'descr': '<u2', 'fortran_order': False, 'shape': (${rows.length}, ${columns}), }`;
  const size = Math.ceil((10 + head.length + 1) / 64) * 64;
  const header = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${`${head.padEnd(size - 11)}\n`}`, "latin1");
  header.writeUInt16LE(size - 10, 8);
  return Buffer.concat([header, ...rows.map((row) => new Uint8Array(row.buffer, row.byteOffset, row.byteLength))]);
}
