import type { DraftTree } from "./draft-tree.ts";
import type { LogProb, NodeIndex, TokenId } from "./ids.ts";
import type { Lattice } from "./lattice.ts";

/**
 * How tokens are chosen. With temperature 0 the token is the argmax of the base logits (lowest id on
 * a tie). Otherwise token = argmax(logit / temperature + Gumbel(seed, position, token)) over the
 * tokens left by top-p, where position counts committed tokens from 0 at the first prompt token.
 * The noise depends on nothing else, so the text does not depend on what was drafted.
 */
export interface Sampling {
  readonly temperature: number;
  /** (0, 1]; 1 keeps every token. */
  readonly topP: number;
  /** uint32 */
  readonly seed: number;
}

export interface OpenSpec {
  /** Bundle name; the engine refuses another one's. */
  readonly model: string;
  /** At least one token. */
  readonly prompt: Uint32Array;
  /** Lattice rows wanted, 0..bundle's heads - 1; 0 never runs the heads (plain decoding). */
  readonly heads: number;
  /** Lattice columns wanted, 1..bundle's topK. */
  readonly topK: number;
  readonly sampling: Sampling;
  /** null: none. n: the chosen token's log-probability and the n likeliest alternatives. */
  readonly logProbs: number | null;
  /**
   * Local rescoring: the weight alpha, 0..1, of the engine's small language model, by which it re-ranks every
   * lattice column given the best candidates of the columns before. 0 and null change no lattice.
   */
  readonly neural: number | null;
}

/** Log-probabilities of one committed token under the base model at temperature 1. */
export interface TokenLogProbs {
  readonly logProb: LogProb;
  readonly topTokens: Uint32Array;
  readonly topLogProbs: Float32Array;
}

export interface StepTiming {
  /** Waiting for the model, ms. */
  readonly queueMs: number;
  /** Base model, heads and local rescorer, ms. */
  readonly modelMs: number;
  /** Everything else on the engine's side, ms. */
  readonly engineMs: number;
}

export interface StepResult {
  /** Node indices of the accepted path, from the root down; empty after `open`. */
  readonly accepted: readonly NodeIndex[];
  /** The model's own next token after the accepted path: the next step's root. */
  readonly bonus: TokenId;
  /** Candidates for the positions after the bonus token. */
  readonly lattice: Lattice;
  /** One entry per committed token (accepted, then bonus), where asked for. */
  readonly logProbs: readonly TokenLogProbs[] | null;
  readonly timing: StepTiming;
}

/** What the engine serves; the edge refuses to talk to one whose tokenizer differs from its own. */
export interface BundleInfo {
  readonly model: string;
  /** Hex SHA-256 of tokenizer.json. */
  readonly tokenizerHash: string;
  readonly vocabSize: number;
  readonly contextTokens: number;
  /** Lattice rows (heads 2..H) and columns the heads graph yields. */
  readonly latticeHeads: number;
  readonly topK: number;
  readonly provider: string;
  /** Measured at start-up: [rows verified in one pass, ms], rising in rows; heads included. */
  readonly costCurve: readonly (readonly [rows: number, ms: number])[];
  /** Whether it has a local rescorer (OpenSpec.neural). */
  readonly neural: boolean;
}

/** One open completion. Steps are numbered 0, 1, ...; repeating the newest number repeats its reply. */
export interface StepSession {
  readonly bundle: BundleInfo;
  /** Prefill's result: no accepted nodes, the first bonus token, the first lattice. */
  readonly opened: StepResult;
  step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult>;
  /** Frees the session; safe to call twice and while a step runs. */
  close(): void;
}

/** What is needed of an AbortSignal; declared here because shared/ knows no runtime's types. */
export interface CancelSignal {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** The seam between decoding and the model. Rejects with StepError. */
export interface StepEngine {
  open(spec: OpenSpec, signal: CancelSignal): Promise<StepSession>;
}
