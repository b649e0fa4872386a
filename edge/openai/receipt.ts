import type { ReceiptBook, TokenSource } from "../../shared/decode/receipt.ts";

/** `metrics.receipt`: for the very tokens of this answer, in tokens per step, what refinement was worth. */
export interface ReceiptBody {
  readonly steps: number;
  readonly block_efficiency: {
    /** The likeliest candidate of every head, from where each step stood. */
    readonly unrefined: number;
    /** What was drafted. */
    readonly refined: number;
    /** The best path through the heads' candidates. */
    readonly best: number;
  };
  /** Of the steps' tokens, how many came from where. */
  readonly tokens: Readonly<Record<TokenSource, number>>;
  /** [steps] tokens committed, or that would have been: unrefined, refined, best. */
  readonly per_step: readonly (readonly [number, number, number])[];
}

export function receiptBody(book: ReceiptBook): ReceiptBody {
  const { receipt, steps } = book.close();
  const perStep = (tokens: number) => (receipt.steps === 0 ? 0 : Math.round((tokens / receipt.steps) * 1000) / 1000);
  return {
    steps: receipt.steps,
    block_efficiency: {
      unrefined: perStep(receipt.unrefined),
      refined: perStep(receipt.refined),
      best: perStep(receipt.best),
    },
    tokens: receipt.tokens,
    per_step: steps.map(({ unrefined, refined, best }) => [unrefined, refined, best] as const),
  };
}
