import type { TokenId } from "../../shared/ids.ts";
import type { TokenTable } from "../../shared/token-table.ts";

/**
 * Tokens to text, one at a time. A code point spread over several tokens appears with the token that
 * completes it; bytes that can never become one appear as U+FFFD at once.
 */
export class Detokenizer {
  readonly #table: TokenTable;
  // A byte-order mark is text like any other here.
  readonly #decoder = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

  constructor(table: TokenTable) {
    this.#table = table;
  }

  push(token: TokenId): string {
    return this.#table.hidden(token) ? "" : this.#decoder.decode(this.#table.bytes(token), { stream: true });
  }

  /** Text of a started code point that nothing will complete: U+FFFD, or "". */
  end(): string {
    return this.#decoder.decode();
  }
}

/** One token's own text for display: bytes outside whole code points are written \xNN. */
export function tokenText(table: TokenTable, token: TokenId): string {
  return escapeBytes(table.bytes(token));
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function escapeBytes(bytes: Uint8Array): string {
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const length = codePointLength(bytes[at]!);
    try {
      if (at + length > bytes.length) throw new TypeError("cut short");
      out += strict.decode(bytes.subarray(at, at + length));
      at += length;
    } catch {
      out += `\\x${bytes[at]!.toString(16).padStart(2, "0")}`;
      at++;
    }
  }
  return out;
}

function codePointLength(lead: number): number {
  if (lead < 0xc0) return 1;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}
