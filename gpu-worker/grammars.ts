import { readFile } from "node:fs/promises";
import { Grammars } from "../shared/grammar/grammars.ts";
import type { TokenId } from "../shared/ids.ts";
import { readTokenTable } from "../shared/token-table.ts";

/** Grammars over the tokens of a tokenizer.json. Rejects with Error where that is not of a kind that is known. */
export async function readGrammars(tokenizerPath: string, eosTokens: readonly TokenId[]): Promise<Grammars> {
  const file: unknown = JSON.parse(await readFile(tokenizerPath, "utf8"));
  return new Grammars(readTokenTable(file).table, eosTokens);
}
