import { join } from "node:path";
import { readSafetensors } from "../../models/safetensors.ts";
import { MODELS_DIR, readSource } from "../../models/source.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { type HardwareShape, NO_WEIGHTS, type Weights } from "./hardware.ts";

/** Bytes stored per weight: 8-bit blocks of 32 with a float32 scale each, or float32. */
const BYTES_PER_WEIGHT: Readonly<Record<string, number>> = { int8: 1 + 4 / 32, fp32: 4 };

/**
 * The bundle's dimensions as the hardware model wants them. Parameters are graph bytes over bytes per
 * weight, 1 to 2 % too many (rotary tables, norms). The heads graph holds a copy of the embedding of
 * which a step reads one row, and multiplies the output matrix of its draft vocabulary once per head.
 */
export async function hardwareShape(manifest: BundleManifest): Promise<HardwareShape> {
  const { architecture, graphs, precision, pastValues, latticeHeads } = manifest;
  const { layers, width, heads, kvHeads, headDim, vocabSize } = architecture;
  const weightBytes = BYTES_PER_WEIGHT[precision];
  if (weightBytes === undefined) throw new Error(`bundle ${manifest.name} has the unknown precision "${precision}"`);
  const readBytes = Math.max(0, graphs.heads.bytes - vocabSize * width * weightBytes);
  const reused = Math.max(0, latticeHeads - 1) * (await draftVocabSize(manifest)) * width;
  const valueBytes = pastValues === "float64" ? 8 : 4;
  return {
    layers,
    attentionHeads: heads,
    headDim,
    kvBytesPerToken: layers * kvHeads * headDim * (4 + valueBytes),
    base: { bytes: graphs.base.bytes, parameters: graphs.base.bytes / weightBytes },
    heads: { bytes: readBytes, parameters: readBytes / weightBytes + reused },
  };
}

/**
 * The local rescorer's weights without its embedding table, of which a run reads single rows: its recurrence takes all
 * of them once for each token it reads, `passes` in a step.
 */
export function neuralWeights({ architecture, graphs, precision }: BundleManifest, passes: number): Weights {
  if (graphs.neural === null) return NO_WEIGHTS;
  const weightBytes = BYTES_PER_WEIGHT[precision] ?? 4;
  const { vocabSize, width } = architecture;
  const bytes = passes * Math.max(0, graphs.neural.bytes - vocabSize * width * weightBytes);
  return { bytes, parameters: bytes / weightBytes };
}

async function draftVocabSize({ name }: BundleManifest): Promise<number> {
  const source = await readSource(name);
  const heads = await readSafetensors(join(MODELS_DIR, name, source.heads));
  return heads.get("draft_ids").values.length;
}
