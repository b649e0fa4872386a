import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Rules } from "../../edge/grammar/rules.ts";
import { SchemaError } from "../../edge/grammar/schema-error.ts";
import { lenientSchemaBody, schemaBody } from "../../edge/grammar/schema-grammar.ts";
import { createTokenizer, type TextTokenizer } from "../../edge/text/tokenizer.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { GrammarError } from "../../shared/grammar/expression.ts";
import { TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import { Vocabulary } from "../../shared/grammar/vocabulary.ts";
import { Random } from "../helpers/random.ts";
import { schemaFault } from "./judge.ts";
import { randomSchema } from "./random-schema.ts";
import { randomText } from "./walk.ts";

let table: TextTokenizer;
let vocabulary: Vocabulary;

beforeAll(async () => {
  table = createTokenizer(await readFile(join(await ensureBundle("tiny"), "tokenizer.json")));
  vocabulary = new Vocabulary(table, [2, 0]);
});

function grammarOf(schema: unknown): TokenGrammar {
  const rules = new Rules();
  return new TokenGrammar(rules.grammar(schemaBody(schema, rules)), vocabulary);
}

/** Whether the grammar allows the text, token by token, forced ones included, up to its end. */
function allows(grammar: TokenGrammar, text: string): boolean {
  let places = new Map([[0, grammar.start]]);
  const bytes = new TextEncoder().encode(text);
  // By single bytes, which every grammar allows one by one.
  const single = Array.from({ length: 256 }, (_, byte) => vocabulary.tokens[vocabulary.child(0, byte)]!);
  for (const byte of bytes) {
    const next = grammar.next(places.get(0) ?? null, single[byte]!);
    if (next === undefined || next === null) return false;
    places = new Map([[0, next]]);
  }
  return grammar.next(places.get(0)!, 2) === null;
}

describe("a schema's texts", () => {
  test("are valid, whatever is chosen among the allowed tokens", () => {
    let written = 0;
    for (let seed = 1; seed <= 250; seed++) {
      const random = new Random(seed);
      const schema = randomSchema(random);
      const grammar = grammarOf(schema);
      for (let i = 0; i < 3; i++) {
        const text = randomText(grammar, table, random, 400);
        if (text === null) continue;
        written++;
        expect(schemaFault(schema, text), `seed ${seed}: ${text} against ${JSON.stringify(schema)}`).toBeNull();
      }
    }
    expect(written).toBeGreaterThan(600);
  });
});
