import type { RunRequest } from "./decode/run-request.ts";
import type { DraftTree } from "./draft-tree.ts";
import type { LogProb, NodeIndex, TokenId } from "./ids.ts";
import type { Lattice } from "./lattice.ts";
import type { RunnersUp } from "./runners-up.ts";
import type { TraceHeaders } from "./telemetry/tracing.ts";

/**
 * How tokens are chosen. With temperature 0 the token is the argmax of the adjusted base logits (lowest id on
 * a tie). Otherwise token = argmax(logit / temperature + Gumbel(seed, position, token)) over the
 * tokens left by min-p, top-k and top-p, in this order, where position counts committed tokens from 0 at the first
 * prompt token. The noise depends on nothing else, and adjustments on the tokens before alone, so the text does not
 * depend on what was drafted.
 */
export interface Sampling {
  readonly temperature: number;
  /** (0, 1]; 1 keeps every token. */
  readonly topP: number;
  /** uint32 */
  readonly seed: number;
  /** Keeps so many of the likeliest tokens, at least 1; left out: all. */
  readonly topK?: number;
  /** Keeps tokens at least so likely, relative to the likeliest, (0, 1]; left out: all. */
  readonly minP?: number;
  /** What happens to the logits first; left out: nothing. */
  readonly adjust?: Adjustments;
}

/**
 * Changes of the logits by the tokens before, in this order: bias is added; what is positive is divided by
 * `repetition` and the rest multiplied by it, for tokens of prompt or answer; `frequency` times its number of
 * occurrences in the answer and, if there is any, `presence` are subtracted. (vLLM's rules and order.)
 */
export interface Adjustments {
  /** [n] distinct tokens, at most LIMITS.biases, and what is added to their logits. */
  readonly biasTokens: Uint32Array;
  readonly biases: Float32Array;
  /** Above 0; 1 changes nothing. */
  readonly repetition: number;
  readonly frequency: number;
  readonly presence: number;
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
  /** Whether lattices come with their query (Lattice.query); left out: without. */
  readonly pair?: boolean | undefined;
  /** How many tokens replies list beside each committed one (RunnersUp.k); none where left out. */
  readonly runnersUp?: number | undefined;
  /** true: every drafted node is verified and a lattice follows every step, whether or not that pays. */
  readonly fixed: boolean;
  /**
   * Whose prompts this one may share computed prefixes with: sessions of other tenants see nothing of it, not even in
   * their timing. At most LIMITS.tenantLength characters.
   */
  readonly tenant: string;
  /**
   * How many tokens at the end of `prompt` are the answer so far, of a session that goes on from another one's; left
   * out: none.
   */
  readonly answered?: number;
  /**
   * The grammar of the answer, as text (grammar/ebnf.ts), ASCII of at most LIMITS.grammarBytes; left out: none. A token
   * that it does not allow (grammar/token-grammar.ts) is never chosen, whatever its logit.
   */
  readonly grammar?: string;
  /** Of which trace this session is a part. It travels as headers of the connection, not in the frame. */
  readonly trace?: TraceHeaders;
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
  /** The passes it took part in: base model, heads and local rescorer, ms. */
  readonly modelMs: number;
  /** Everything else on the engine's side, ms. */
  readonly engineMs: number;
}

/** How busy an engine is, told with every reply. */
export interface Load {
  /** Sessions with something to do, and those that wait to begin. */
  readonly running: number;
  readonly waiting: number;
  /** Share of the cache in use by open sessions, 0..1. */
  readonly kvUsed: number;
  /** Recent average time of a pass, ms. */
  readonly passMs: number;
}

export const IDLE: Load = { running: 0, waiting: 0, kvUsed: 0, passMs: 0 };

export interface StepResult {
  /** Node indices of the accepted path, from the root down; empty after `open`. */
  readonly accepted: readonly NodeIndex[];
  /** The model's own next token after the accepted path: the next step's root. */
  readonly bonus: TokenId;
  /** Candidates for the positions after the bonus token. */
  readonly lattice: Lattice;
  /** One entry per committed token (accepted, then bonus), where asked for. */
  readonly logProbs: readonly TokenLogProbs[] | null;
  /** A row per committed token, where asked for. */
  readonly runnersUp?: RunnersUp | undefined;
  /**
   * What a node's chance had to be to pay, in 255ths: drafted nodes below it were not verified. 0..256; another draft
   * may do without such nodes.
   */
  readonly threshold: number;
  readonly timing: StepTiming;
  readonly load: Load;
}

/** Time of a pass, ms: the sum of what it consists of. */
export interface PassCosts {
  /** Every pass. */
  readonly pass: number;
  /** Each row. */
  readonly row: number;
  /** Each row whose next token is wanted. */
  readonly wanted: number;
  /** Each row's attention to 1024 tokens. */
  readonly context: number;
  /** Each session's lattice. */
  readonly heads: number;
}

/** What the engine serves; the edge refuses to talk to one whose tokenizer differs from its own. */
export interface BundleInfo {
  readonly model: string;
  /** Hex SHA-256 of tokenizer.json. */
  readonly tokenizerHash: string;
  readonly vocabSize: number;
  readonly contextTokens: number;
  /** Lattice rows (heads 2..H) and columns that the draft heads yield. */
  readonly latticeHeads: number;
  readonly topK: number;
  readonly provider: string;
  /** What a pass costs now. */
  readonly costs: PassCosts;
  /** Whether it has a local rescorer (OpenSpec.neural). */
  readonly neural: boolean;
  /** Whether lattices can have a query (OpenSpec.pair); left out: no. */
  readonly pair?: boolean;
}

/** What an engine is known by before a session is opened there; null: it has not been heard of. */
export interface EngineEstimates {
  readonly roundTripMs: number | null;
  readonly costs: PassCosts | null;
}

/**
 * The run that is to begin with the first token, so that the second does not wait for a round trip either; null: none.
 * The session's first call must then be `run`.
 */
export type Ahead = (known: EngineEstimates) => RunRequest | null;

/** One open completion. Steps are numbered 0, 1, ... */
export interface StepSession {
  readonly bundle: BundleInfo;
  /** Prompt tokens that had been computed before. */
  readonly cachedTokens: number;
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
  /** `ahead` is asked once the engine is reached, of those that can draft. */
  open(spec: OpenSpec, signal: CancelSignal, ahead?: Ahead): Promise<StepSession>;
}
