/** The files of a compiled bundle directory and what they hold. Written by `models/`, read by all. */

export const MANIFEST_FORMAT = 1;

export interface FileEntry {
  /** Relative to the bundle directory. */
  readonly path: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

export interface PackEntry extends FileEntry {
  readonly name: string;
  readonly order: number;
  readonly ngrams: number;
}

/** Defaults of the request field `speculation` for this bundle. */
export interface SpeculationDefaults {
  readonly heads: number;
  readonly topK: number;
  readonly rescorer: {
    readonly type: "none" | "ngram" | "neural";
    readonly model: string;
    readonly order: number;
    readonly alpha: number;
    readonly pBest: number;
  };
  /** Weight of the local rescorer, in bundles that have one. */
  readonly neuralAlpha: number;
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
    readonly vocabSize: number;
    readonly contextTokens: number;
  };
  /** How the weights were laid out in the graphs, e.g. "int4" or "fp32". */
  readonly precision: string;
  /** Element type of the base graph's `past_v` inputs: float64 where attention sums in double precision. */
  readonly pastValues: "float32" | "float64";
  readonly graphs: {
    /** tokens + cache -> argmax, logits, hidden, new K/V (see models/README.md). */
    readonly base: FileEntry;
    /** hidden + bonus token -> lattice. */
    readonly heads: FileEntry;
    /** state + committed tokens + lattice -> new state, scores; null in a bundle without a local rescorer. */
    readonly neural: FileEntry | null;
  };
  /** Width of the `hidden` output: every tap and the final hidden state, concatenated. */
  readonly hiddenWidth: number;
  /** Rows (heads 2..H) and columns of the heads graph's output. */
  readonly latticeHeads: number;
  readonly topK: number;
  readonly tokenizer: FileEntry;
  /** Jinja source, or null for a bundle without chat. */
  readonly chatTemplate: string | null;
  readonly bosToken: number | null;
  /** Any of these ends a completion. */
  readonly eosTokens: readonly number[];
  readonly packs: readonly PackEntry[];
  readonly defaults: SpeculationDefaults;
}
