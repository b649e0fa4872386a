import { join } from "node:path";
import { readSafetensors } from "../../models/safetensors.ts";
import { MODELS_DIR, readSource } from "../../models/source.ts";
import type { BundleManifest, GraphEntry, Precision } from "../../shared/manifest.ts";
import { type HardwareShape, NO_WEIGHTS, type Weights } from "./hardware.ts";

/** Bytes stored per weight of the local rescorer: 8-bit blocks of 32 with a float32 scale each, or float32. */
const NEURAL_BYTES_PER_WEIGHT: Readonly<Record<Precision, number>> = { int8: 1 + 4 / 32, fp16: 1 + 4 / 32, fp32: 4 };
/** The same of base model and draft heads, whose scales are few. */
const BYTES_PER_WEIGHT: Readonly<Record<Precision, number>> = { int8: 1, fp16: 2, fp32: 4 };
/** Bytes of one token's key and value of one head: 8 bits and two scales, or float32. */
const KV_BYTES: Readonly<Record<Precision, (headDim: number) => number>> = {
  int8: (headDim) => 2 * headDim + 8,
  fp16: (headDim) => 8 * headDim,
  fp32: (headDim) => 8 * headDim,
};

/**
 * The bundle's dimensions as the hardware model wants them. Parameters are a file's bytes over bytes per
 * weight, 1 to 3 % too many (rotary tables, norms, scales). The heads multiply the output matrix of their draft
 * vocabulary once per head: as a graph they hold it, beside a copy of the embedding of which a step reads one row;
 * in integers they take it from the base model.
 */
export async function hardwareShape(manifest: BundleManifest): Promise<HardwareShape> {
  const { architecture, graphs, precision, latticeHeads } = manifest;
  const { layers, width, heads, kvHeads, headDim, vocabSize } = architecture;
  const weightBytes = BYTES_PER_WEIGHT[precision];
  const headsBytes = graphs.heads === null ? 0 : weightBytesOf(graphs.heads);
  const draftOutput = (await draftVocabSize(manifest)) * width;
  const readBytes =
    precision !== "int8" ? Math.max(0, headsBytes - vocabSize * width * weightBytes) : headsBytes + draftOutput;
  const reused = Math.max(0, latticeHeads - 1) * draftOutput;
  return {
    layers,
    attentionHeads: heads,
    headDim,
    kvBytesPerToken: layers * kvHeads * KV_BYTES[precision](headDim),
    base: { bytes: weightBytesOf(graphs.base), parameters: weightBytesOf(graphs.base) / weightBytes },
    heads: { bytes: readBytes, parameters: readBytes / weightBytes + reused },
  };
}

function weightBytesOf({ bytes, data }: GraphEntry): number {
  return data?.bytes ?? bytes;
}

/**
 * The local rescorer's weights without its embedding table, of which a run reads single rows: its recurrence takes all
 * of them once for each token it reads, `passes` in a step.
 */
export function neuralWeights({ architecture, graphs, precision }: BundleManifest, passes: number): Weights {
  if (graphs.neural === null) return NO_WEIGHTS;
  const weightBytes = NEURAL_BYTES_PER_WEIGHT[precision];
  const { vocabSize, width } = architecture;
  const bytes = passes * Math.max(0, graphs.neural.bytes - vocabSize * width * weightBytes);
  return { bytes, parameters: bytes / weightBytes };
}

async function draftVocabSize({ name, graphs }: BundleManifest): Promise<number> {
  if (graphs.heads === null) return 0;
  const source = await readSource(name);
  if (source.heads === null) throw new Error(`bundle ${name} has no draft heads`);
  const heads = await readSafetensors(join(MODELS_DIR, name, source.heads));
  return heads.get("draft_ids").values.length;
}
