import { type ReceiptBook, type StepReceipt, TOKEN_SOURCES, type TokenSource } from "../../shared/decode/receipt.ts";

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

/** Of all choices of a request, one after the other. */
export function receiptBody(books: readonly ReceiptBook[]): ReceiptBody {
  const closed = books.map((book) => book.close());
  const steps = closed.flatMap((one) => one.steps);
  const perStep = (field: keyof StepReceipt) => {
    const tokens = steps.reduce((sum, step) => sum + step[field], 0);
    return steps.length === 0 ? 0 : Math.round((tokens / steps.length) * 1000) / 1000;
  };
  const fromAll = (source: TokenSource) => closed.reduce((sum, { receipt }) => sum + receipt.tokens[source], 0);
  const tokens = Object.fromEntries(TOKEN_SOURCES.map((source) => [source, fromAll(source)]));
  return {
    steps: steps.length,
    block_efficiency: { unrefined: perStep("unrefined"), refined: perStep("refined"), best: perStep("best") },
    tokens: tokens as Record<TokenSource, number>,
    per_step: steps.map(({ unrefined, refined, best }) => [unrefined, refined, best] as const),
  };
}
