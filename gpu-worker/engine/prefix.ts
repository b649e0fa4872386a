import { createHash } from "node:crypto";
import { PAGE_TOKENS } from "../model.ts";

/**
 * Names of a text's full pages: each a hash of the name before and the page's tokens, the first of the tenant's name,
 * so that equal names mean equal texts of one tenant. A text's names are found one after the other as it grows.
 */
export class PrefixNames {
  readonly #names: string[] = [];
  #last: string;

  constructor(tenant: string) {
    this.#last = createHash("sha256").update(`tenant ${tenant}`).digest("base64");
  }

  /** The name of the page with tokens [index * PAGE_TOKENS, ...) of `text`, which must be that long. */
  of(index: number, text: ArrayLike<number>): string {
    for (let i = this.#names.length; i <= index; i++) {
      const tokens = Uint32Array.from({ length: PAGE_TOKENS }, (_, j) => text[i * PAGE_TOKENS + j]!);
      this.#last = createHash("sha256").update(this.#last).update(tokens).digest("base64");
      this.#names.push(this.#last);
    }
    return this.#names[index]!;
  }
}
