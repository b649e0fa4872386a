import type { PassCosts } from "./engine.ts";
import type { Calibration } from "./rescore/calibration.ts";
import type { RescorerType } from "./rescore/index.ts";
import type { RescorerDefaults } from "./rescore/module.ts";

/** The files of a compiled bundle directory and what they hold. Written by `models/`, read by all. */

export const MANIFEST_FORMAT = 2;

export interface FileEntry {
  /** Relative to the bundle directory. */
  readonly path: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** An ONNX graph, or integer weights. */
export interface GraphEntry extends FileEntry {
  /** Its large tensors, which a graph keeps outside itself: one ONNX file holds 2 GB. */
  readonly data?: FileEntry | undefined;
}

export interface PackEntry extends FileEntry {
  readonly name: string;
  readonly order: number;
  readonly ngrams: number;
  /** On text held out when it was trained; absent where nothing was. */
  readonly devPerplexity?: number;
}

/**
 * The copy part of the draft heads: each head's distribution over the vocabulary is mixed with one over what
 * followed the earlier *sources* of the bonus token in this very text, a pointer-generator mixture (See et al.
 * 2017, arXiv 1704.04368) over exact matches. Trained by train/heads.py, which documents the same formulas.
 */
export interface CopyHeads {
  /** [heads][match length + 1] score of a source by match length (LONGEST_MATCH in gpu-worker/copy-heads.ts). */
  readonly match: readonly (readonly number[])[];
  /** [heads] score per natural log of a source's age. */
  readonly age: readonly number[];
  /** [heads][match length + 1] gate by the longest match. */
  readonly gateMatch: readonly (readonly number[])[];
  /** [heads] gate by how much of the copy distribution agrees on one token. */
  readonly gateAgree: readonly number[];
}

/** How a base model computes beside Llama (models/architectures/); graphs have it in them, the integer model is told. */
export interface Traits {
  /** Whether queries, keys, values and what attention adds have biases, queries and keys norms, and what a block adds norms. */
  readonly biases: boolean;
  readonly headNorms: boolean;
  readonly postNorms: boolean;
  /** In place of silu. */
  readonly gelu: boolean;
  /** What scores are multiplied by. */
  readonly attentionScale: number;
  /** Scores and logits x become cap tanh(x / cap); null: they stay. */
  readonly attentionCap: number | null;
  readonly logitCap: number | null;
  /** Newest tokens that windowed blocks see, the row's own among them; null: there are no such blocks. */
  readonly window: number | null;
  /** [headDim / 2] of blocks that are rotated by angles of their own; null: there are no such blocks. */
  readonly localRopeFrequencies: readonly number[] | null;
  /** [layers]; rotary null: not rotated. */
  readonly blocks: readonly { readonly rotary: "global" | "local" | null; readonly windowed: boolean }[];
}

export const PRECISIONS = ["fp32", "fp16", "int8"] as const;
export type Precision = (typeof PRECISIONS)[number];
/** Of bundles whose base model is a graph. */
export type GraphPrecision = Exclude<Precision, "int8">;

/** Defaults of the request field `speculation` for this bundle. */
export interface SpeculationDefaults extends RescorerDefaults {
  readonly heads: number;
  readonly topK: number;
  readonly rescorer: RescorerDefaults["rescorer"] & { readonly type: RescorerType; readonly model: string };
}

export interface BundleManifest {
  readonly format: typeof MANIFEST_FORMAT;
  readonly name: string;
  readonly license: string;
  /** Shown wherever the bundle is announced, e.g. that `tiny` is a fallback; null for none. */
  readonly notice: string | null;
  readonly architecture: {
    readonly layers: number;
    readonly width: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headDim: number;
    readonly ffn: number;
    readonly vocabSize: number;
    readonly contextTokens: number;
    readonly normEps: number;
    /** [headDim / 2] rotary angle per position, in radians. */
    readonly ropeFrequencies: readonly number[];
    /** Left out: as Llama. */
    readonly traits?: Traits;
  };
  /**
   * "int8": base model and draft heads are files of integer weights, for CPUs; "fp32" and "fp16": graphs, for every provider, that
   * multiply in float32 and in float16.
   */
  readonly precision: Precision;
  /** Zero-based blocks whose output the draft heads read, beside the final hidden state. */
  readonly taps: readonly number[];
  /** What passes cost where the bundle was made: a start for the engine, which learns the rest. */
  readonly costs: PassCosts;
  readonly graphs: {
    /** The base model (see models/README.md). */
    readonly base: GraphEntry;
    /** The draft heads: hidden states + bonus tokens -> lattices; null in a bundle without draft heads. */
    readonly heads: GraphEntry | null;
    /** state + committed tokens + lattice -> new state, scores; null in a bundle without a local rescorer. */
    readonly neural: FileEntry | null;
    /** Tables of which tokens follow one another (rescore/pair-scores.ts); null or left out: it has none. */
    readonly pair?: FileEntry | null;
    /** Where the base model is a graph: keys and values of one pass -> those of the next. */
    readonly past?: FileEntry | undefined;
  };
  /** Rows (heads 2..H) and columns of a lattice. */
  readonly latticeHeads: number;
  readonly topK: number;
  /** null for heads that do not copy. */
  readonly copyHeads: CopyHeads | null;
  readonly tokenizer: FileEntry;
  /** Jinja source, or null for a bundle without chat. */
  readonly chatTemplate: string | null;
  readonly bosToken: number | null;
  /** Any of these ends a completion. */
  readonly eosTokens: readonly number[];
  readonly packs: readonly PackEntry[];
  /** What rescorer type `tree` knows of this bundle's heads; null or left out: nothing, so there is no such type. */
  readonly calibration?: Calibration | null;
  readonly defaults: SpeculationDefaults;
}

/** All files of a bundle's graphs. */
export function graphFiles({ base, heads, neural, pair, past }: BundleManifest["graphs"]): FileEntry[] {
  return [base, base.data, heads, heads?.data, neural, pair, past].filter((entry) => entry != null);
}
