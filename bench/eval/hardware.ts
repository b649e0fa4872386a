/**
 * The hardware model of Kim et al. 2024, for one generated text and whatever machine: what a method reads and
 * writes and multiplies, from the bundle's dimensions and counted steps and rows. Nothing here is timed.
 *
 *   parameter I/O = steps * (base bytes + head bytes + rescorer bytes)
 *   KV-cache I/O  = (steps * context + tokens) * KV bytes per token        read in every step; written once
 *   FLOPs         = 2 * (rows * base parameters + steps * (head parameters + rescorer parameters))
 *                 + 4 * rows * context * layers * attention heads * head width       scores, weighted values
 *
 * A row is a token that goes through the base model: the root and each drafted node. The context is held at
 * the given length, so texts of one length compare. The rows of a pass share its reading of parameters and
 * cache; that is what drafting saves. Prefill is left out, as it is from block efficiency. The look-ups of
 * an n-gram model are left out as well: a few hundred cache lines a step.
 */
export interface HardwareShape {
  readonly layers: number;
  readonly attentionHeads: number;
  readonly headDim: number;
  readonly kvBytesPerToken: number;
  readonly base: Weights;
  /** All draft heads together. */
  readonly heads: Weights;
}

export interface Weights {
  /** Read in every pass, bytes as stored. */
  readonly bytes: number;
  /** Multiplied with each row; a matrix used twice counts twice. */
  readonly parameters: number;
}

export const NO_WEIGHTS: Weights = { bytes: 0, parameters: 0 };

/** One text, or the mean over many. */
export interface DecodeCounts {
  readonly tokens: number;
  readonly steps: number;
  readonly draftedNodes: number;
  /** Plain decoding runs none. */
  readonly headsRun: boolean;
  /** A model that runs once per step on the side of the heads; NO_WEIGHTS for none and n-grams. */
  readonly rescorer: Weights;
}

export interface HardwareCost {
  readonly parameter_io_gb: number;
  /** Context length -> GB. */
  readonly kv_io_gb: Readonly<Record<string, number>>;
  /** At FLOPS_CONTEXT. */
  readonly flops_t: number;
}

/** The context lengths of the paper's table. */
export const CONTEXTS = [128, 512, 1024, 2048] as const;
export const FLOPS_CONTEXT = 512;

export function hardwareCost(shape: HardwareShape, counts: DecodeCounts): HardwareCost {
  const { tokens, steps, draftedNodes, headsRun, rescorer } = counts;
  const heads = headsRun ? shape.heads : NO_WEIGHTS;
  const rows = steps + draftedNodes;
  const kvBytes = (context: number) => (steps * context + tokens) * shape.kvBytesPerToken;
  const weightFlops = 2 * (rows * shape.base.parameters + steps * (heads.parameters + rescorer.parameters));
  const attentionFlops = 4 * rows * FLOPS_CONTEXT * shape.layers * shape.attentionHeads * shape.headDim;
  return {
    parameter_io_gb: (steps * (shape.base.bytes + heads.bytes + rescorer.bytes)) / 1e9,
    kv_io_gb: Object.fromEntries(CONTEXTS.map((context) => [context, kvBytes(context) / 1e9])),
    flops_t: (weightFlops + attentionFlops) / 1e12,
  };
}
