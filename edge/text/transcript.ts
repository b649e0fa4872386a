import type { FinishReason } from "../../shared/decode/advance.ts";
import type { StepEvent } from "../../shared/decode/run.ts";
import type { TokenLogProbs } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { TokenTable } from "../../shared/token-table.ts";
import { Detokenizer } from "./detokenize.ts";
import { StopScanner } from "./stop.ts";

/** A kept token with the text it added, before stop strings were looked for. */
export interface Piece {
  readonly kind: "accepted" | "bonus";
  readonly text: string;
}

export interface TokenEntry {
  readonly token: TokenId;
  /** UTF-16 offset of the token's text in the completion. */
  readonly offset: number;
  readonly logProbs: TokenLogProbs;
}

/** What one step added to the visible completion. */
export interface TextStep {
  /** Newly shown text; may lag behind the tokens while a stop string is possible. */
  readonly text: string;
  readonly pieces: readonly Piece[];
  /** Tokens with log-probabilities, where asked for; the end-of-sequence token has no entry. */
  readonly entries: readonly TokenEntry[];
  /** Committed tokens that belong to the completion; those after a stop string do not. */
  readonly kept: number;
  readonly finish: FinishReason | null;
}

/**
 * Turns step events into text. Tokens are taken one by one, so the text is the same however the tokens
 * were grouped into blocks; the token that completes a stop string is the last one kept.
 */
export class Transcript {
  readonly #detokenizer: Detokenizer;
  readonly #scanner: StopScanner;
  readonly #hidden: (token: TokenId) => boolean;
  /** Length of the text before stop strings were looked for. */
  #offset = 0;

  constructor(table: TokenTable, stops: readonly string[]) {
    this.#detokenizer = new Detokenizer(table);
    this.#scanner = new StopScanner(stops);
    this.#hidden = (token) => table.hidden(token);
  }

  push(event: StepEvent): TextStep {
    let text = "";
    const pieces: Piece[] = [];
    const entries: TokenEntry[] = [];
    for (const { token, kind, logProbs } of event.committed) {
      const piece = this.#detokenizer.push(token);
      pieces.push({ kind, text: piece });
      if (logProbs !== null && !this.#hidden(token)) entries.push({ token, offset: this.#offset, logProbs });
      this.#offset += piece.length;
      const scanned = this.#scanner.push(piece);
      text += scanned.text;
      if (scanned.stopped) return { text, pieces, entries, kept: pieces.length, finish: "stop" };
    }
    if (event.finish === null) return { text, pieces, entries, kept: pieces.length, finish: null };
    const rest = this.#end(event.finish);
    return { text: text + rest.text, pieces, entries, kept: pieces.length, finish: rest.finish };
  }

  /** A limit may cut a code point that more tokens would complete: such bytes are dropped. */
  #end(finish: FinishReason): { text: string; finish: FinishReason } {
    const broken = this.#detokenizer.end();
    const last = finish === "stop" ? this.#scanner.push(broken) : { text: "", stopped: false };
    return last.stopped ? { text: last.text, finish: "stop" } : { text: last.text + this.#scanner.end(), finish };
  }
}
