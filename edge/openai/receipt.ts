import { type ReceiptBook, type StepReceipt, TOKEN_SOURCES, type TokenSource } from "../../shared/decode/receipt.ts";
import type { ReceiptBody } from "./answer-schemas.ts";

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
    tokens: tokens as ReceiptBody["tokens"],
    per_step: steps.map(({ unrefined, refined, best }) => [unrefined, refined, best]),
  };
}
