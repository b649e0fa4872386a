import type { TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import type { TokenTable } from "../../shared/token-table.ts";
import type { Random } from "../helpers/random.ts";

/** Tokens allowed by a mask. */
export function allowedTokens(mask: Uint32Array, size: number): number[] {
  return Array.from({ length: size }, (_, token) => token).filter(
    (token) => ((mask[token >>> 5]! >>> (token & 31)) & 1) === 1,
  );
}

/**
 * A text that a careless model writes under a grammar: every allowed first byte is as likely as the others, then every token
 * that begins with it. null where it has not ended after `most` tokens.
 */
export function randomText(grammar: TokenGrammar, table: TokenTable, random: Random, most: number): string | null {
  const bytes: number[] = [];
  let place = grammar.start;
  for (let i = 0; i < most && place !== null; i++) {
    const forced = grammar.forced(place);
    const token =
      forced >= 0 ? forced : pick(allowedTokens(grammar.mask(place), table.size), table, random, i > most / 4);
    const next = grammar.next(place, token);
    if (next === undefined) throw new Error(`token ${token} is in the mask, but not allowed`);
    if (next !== null) bytes.push(...table.bytes(token));
    place = next;
  }
  return place === null ? new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes)) : null;
}

/** `hurried`: an end, a quotation mark or a bracket where that is allowed. */
function pick(tokens: readonly number[], table: TokenTable, random: Random, hurried: boolean): number {
  const first = (token: number) => (table.hidden(token) ? -1 : (table.bytes(token)[0] ?? -1));
  const closing = tokens.filter((token) => [-1, 0x22, 0x5d, 0x7d].includes(first(token)));
  if (hurried && closing.length > 0)
    return closing.toSorted((a, b) => table.bytes(a).length - table.bytes(b).length)[0]!;
  const byte = random.pick([...new Set(tokens.map(first))]);
  return random.pick(tokens.filter((token) => first(token) === byte));
}
