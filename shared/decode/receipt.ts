import { SOURCES, type Source } from "../draft-tree.ts";
import type { TokenId } from "../ids.ts";
import { EMPTY_LATTICE, type Lattice } from "../lattice.ts";
import type { Block } from "./block.ts";

/** What a step commits, bonus token included, by drafts of its lattice: answers are known, so this is exact. */
export interface StepReceipt {
  /** By the first candidate of every column, one chain. */
  readonly unrefined: number;
  /** By the draft that was verified, which may go beyond the lattice. */
  readonly refined: number;
  /** By the best path through the lattice's candidates: the oracle. */
  readonly best: number;
}

/** `heads`: a column's first candidate; `reranked`: a lower one; `bonus`: the model's own token. */
export type TokenSource = "heads" | "reranked" | Exclude<Source, "lattice"> | "bonus";

export const TOKEN_SOURCES: readonly TokenSource[] = [
  "heads",
  "reranked",
  ...SOURCES.filter((source) => source !== "lattice"),
  "bonus",
];

/** Sums over the steps of one completion; the prefill is none. */
export interface Receipt extends StepReceipt {
  readonly steps: number;
  /** Tokens by where they came from. */
  readonly tokens: Readonly<Record<TokenSource, number>>;
}

interface Pending {
  readonly lattice: Lattice;
  /** Place in the answer of the first token after the step's root. */
  readonly from: number;
  readonly refined: number;
}

/** Follows one completion, of whose steps it must see what was verified. */
export class ReceiptBook {
  readonly #answer: TokenId[] = [];
  /** Steps whose lattice may reach beyond what has been written. */
  readonly #pending: Pending[] = [];
  readonly #steps: StepReceipt[] = [];
  readonly #tokens = new Map<TokenSource, number>();

  /** `kept`: how many of the block's committed tokens are part of the answer. */
  record({ call, committed, verified }: Block, kept: number = committed.length): void {
    const from = this.#answer.length;
    const tokens = committed.slice(0, kept).map(({ token }) => token);
    this.#answer.push(...tokens);
    if (call === 0 || kept === 0) return;
    const lattice = verified?.lattice ?? EMPTY_LATTICE;
    for (const [depth, { token, kind }] of committed.slice(0, kept).entries()) {
      const node = verified?.accepted[depth];
      const source = node === undefined ? "lattice" : SOURCES[verified?.tree.sources?.[node] ?? 0]!;
      this.#count(kind === "bonus" ? "bonus" : source === "lattice" ? rankedSource(lattice, depth, token) : source);
    }
    this.#pending.push({ lattice, from, refined: kept });
    this.#settle((pending) => pending.from + pending.lattice.heads < this.#answer.length);
  }

  /** Of all steps so far: the answer ends here. */
  close(): { readonly receipt: Receipt; readonly steps: readonly StepReceipt[] } {
    this.#settle(() => true);
    const sum = (field: keyof StepReceipt) => this.#steps.reduce((total, step) => total + step[field], 0);
    const tokens = Object.fromEntries(TOKEN_SOURCES.map((source) => [source, this.#tokens.get(source) ?? 0]));
    const receipt = {
      steps: this.#steps.length,
      unrefined: sum("unrefined"),
      refined: sum("refined"),
      best: sum("best"),
      tokens: tokens as Record<TokenSource, number>,
    };
    return { receipt, steps: this.#steps };
  }

  #settle(ready: (pending: Pending) => boolean): void {
    while (this.#pending.length > 0 && ready(this.#pending[0]!)) {
      const { lattice, from, refined } = this.#pending.shift()!;
      const left = this.#answer.length - from;
      const committed = (candidates: number) => Math.min(left, 1 + pathLength(lattice, candidates, this.#answer, from));
      this.#steps.push({ unrefined: committed(1), refined, best: committed(lattice.k) });
    }
  }

  #count(source: TokenSource): void {
    this.#tokens.set(source, (this.#tokens.get(source) ?? 0) + 1);
  }
}

function rankedSource({ heads, k, tokens }: Lattice, depth: number, token: TokenId): TokenSource {
  return depth < heads && tokens[depth * k] === token ? "heads" : "reranked";
}

/** How far the answer goes through the first `candidates` of every column. */
function pathLength(
  { heads, k, tokens }: Lattice,
  candidates: number,
  answer: readonly TokenId[],
  from: number,
): number {
  let length = 0;
  while (length < heads && from + length < answer.length) {
    const column = tokens.subarray(length * k, length * k + candidates);
    if (!column.includes(answer[from + length]!)) break;
    length++;
  }
  return length;
}
