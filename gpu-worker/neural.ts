import { assert } from "../shared/assert.ts";
import type { OpenSpec } from "../shared/engine.ts";
import type { TokenId } from "../shared/ids.ts";
import { createLattice, type Lattice } from "../shared/lattice.ts";

/**
 * Prompt tokens that the small language model reads: what it was trained with (train/neural.py --context). Its
 * memory is short, and the whole of a long prompt would delay the first token.
 */
const PROMPT_TOKENS = 64;

/** What one run of the small language model is given. */
export interface NeuralInputs {
  /** [size], before `committed`. */
  readonly state: Float32Array;
  /** Committed tokens not yet read, at least one; the newest one, `bonus`, is not among them. */
  readonly committed: ArrayLike<TokenId>;
  readonly bonus: TokenId;
  readonly lattice: Lattice;
  readonly alpha: number;
}

export interface NeuralOutputs {
  /** [size], after `committed`. */
  readonly state: Float32Array;
  /** [heads, k]: (1 - alpha) log p_head + alpha log p_small, the latter normalised over the column's candidates. */
  readonly scores: Float32Array;
}

/** The local rescorer's graph. One call at a time. */
export interface NeuralModel {
  /** Width of the recurrent state. */
  readonly size: number;
  run(inputs: NeuralInputs): Promise<NeuralOutputs>;
  release(): Promise<void>;
}

/**
 * Local rescoring of one session (Kim et al. 2024): a small language model goes through each lattice from left to
 * right and ranks a column's candidates given the committed tokens and the best candidates before. Its state is a
 * function of the committed tokens alone.
 */
export class LocalRescorer {
  readonly #model: NeuralModel;
  readonly #alpha: number;
  #state: Float32Array;
  #unread: TokenId[] = [];
  /** Whether anything has been read: until then only the prompt's end is kept. */
  #started = false;

  constructor(model: NeuralModel, alpha: number) {
    this.#model = model;
    this.#alpha = alpha;
    this.#state = new Float32Array(model.size);
  }

  /** null where the session asks for none, or for one of no weight: its lattices stay as they are, bit for bit. */
  static for({ neural, heads }: Pick<OpenSpec, "neural" | "heads">, model: NeuralModel | null): LocalRescorer | null {
    if (neural === null || neural === 0 || heads === 0) return null;
    assert(model !== null, "the engine refuses what its bundle lacks");
    return new LocalRescorer(model, neural);
  }

  /** Tokens newly committed, in order: the prompt, then accepted ones; `rescore` takes the bonus tokens. */
  commit(tokens: Iterable<TokenId>): void {
    this.#unread.push(...tokens);
    if (!this.#started) this.#unread.splice(0, this.#unread.length - PROMPT_TOKENS);
  }

  /** Commits the bonus token and re-ranks the candidates for the positions after it. */
  async rescore(lattice: Lattice, bonus: TokenId): Promise<Lattice> {
    // Rounded as on the wire, so that replaying a recorded lattice gives what the live one gave.
    const rounded = createLattice(
      lattice.heads,
      lattice.k,
      lattice.tokens,
      Float32Array.from(lattice.logProbs, Math.f16round),
      lattice.query,
    );
    const inputs = { state: this.#state, committed: this.#unread, bonus, lattice: rounded, alpha: this.#alpha };
    const { state, scores } = await this.#model.run(inputs);
    this.#state = state;
    this.#unread = [bonus];
    this.#started = true;
    return rerank(rounded, scores);
  }
}

/**
 * The lattice with every column's candidates in order of their scores [heads, k], best first. A column keeps the
 * probability that its head gave to its candidates together, shared out by softmax of the scores.
 */
export function rerank({ heads, k, tokens, logProbs, query }: Lattice, scores: Float32Array): Lattice {
  assert(scores.length === heads * k, "one score per candidate");
  const ranked = new Uint32Array(heads * k);
  const shares = new Float32Array(heads * k);
  for (let from = 0; from < heads * k; from += k) {
    const shift = logSumExp(logProbs.subarray(from, from + k)) - logSumExp(scores.subarray(from, from + k));
    const order = Array.from({ length: k }, (_, i) => from + i);
    // The graph goes on with the first of equal scores: stability keeps that one first.
    order.sort((a, b) => scores[b]! - scores[a]!);
    for (const [i, at] of order.entries()) {
      ranked[from + i] = tokens[at]!;
      shares[from + i] = Math.min(0, scores[at]! + shift);
    }
  }
  return createLattice(heads, k, ranked, shares, query);
}

function logSumExp(values: Float32Array): number {
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}
