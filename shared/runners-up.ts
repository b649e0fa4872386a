import { assert } from "./assert.ts";
import type { TokenId } from "./ids.ts";

/**
 * What the base model thought of beside the tokens it chose: for each committed token, the k likeliest others at its
 * place. They cost nothing, since the row was verified, and where the same words come again they are good drafts (Luo
 * et al., "Turning Trash into Treasure", 2024).
 */
export interface RunnersUp {
  readonly k: number;
  /** [committed * k] by falling logit, lower ids first among equals. */
  readonly tokens: Uint32Array;
  /** [committed * k] how far each lies below its row's likeliest token, in GAPS_PER_NAT-ths of a nat. */
  readonly gaps: Uint8Array;
}

export const GAPS_PER_NAT = 16;

export const NO_RUNNERS_UP: RunnersUp = { k: 0, tokens: new Uint32Array(0), gaps: new Uint8Array(0) };

/** A difference of logits, 0 or more, as it is sent: the largest one stands for all above. */
export function gapOf(nats: number): number {
  return Math.min(255, Math.round(nats * GAPS_PER_NAT));
}

/**
 * Of one row: the `k` likeliest tokens but `chosen`.
 * @param likeliest at least k + 1 tokens by falling logit, and their logits, or log-probabilities
 */
export function runnersUpOf(
  likeliest: { readonly tokens: ArrayLike<TokenId>; readonly logits: ArrayLike<number> },
  chosen: TokenId,
  k: number,
): RunnersUp {
  const places = Array.from(likeliest.tokens, (_, i) => i).filter((i) => likeliest.tokens[i] !== chosen);
  const kept = places.slice(0, k);
  assert(kept.length === k, `${k} tokens beside the chosen one`);
  return {
    k,
    tokens: Uint32Array.from(kept, (i) => likeliest.tokens[i]!),
    gaps: Uint8Array.from(kept, (i) => gapOf(likeliest.logits[0]! - likeliest.logits[i]!)),
  };
}

export function rowCount({ k, tokens }: RunnersUp): number {
  return k === 0 ? 0 : tokens.length / k;
}

/** Those of tokens `from` to before `to`. */
export function rowsOf({ k, tokens, gaps }: RunnersUp, from: number, to: number): RunnersUp {
  return { k, tokens: tokens.subarray(from * k, to * k), gaps: gaps.subarray(from * k, to * k) };
}

/** The `k` likeliest of one row. */
export function firstOf({ tokens, gaps }: RunnersUp, k: number): RunnersUp {
  return { k, tokens: tokens.subarray(0, k), gaps: gaps.subarray(0, k) };
}

/** Rows one after the other; all of the same k. */
export function joinRunnersUp(rows: readonly RunnersUp[]): RunnersUp {
  const k = rows[0]?.k ?? 0;
  assert(
    rows.every((row) => row.k === k),
    "rows of one k",
  );
  return {
    k,
    tokens: Uint32Array.from(rows.flatMap((row) => [...row.tokens])),
    gaps: Uint8Array.from(rows.flatMap((row) => [...row.gaps])),
  };
}
