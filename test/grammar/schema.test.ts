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

/** Whether the grammar allows the text up to its end, byte by byte. */
function allows(grammar: TokenGrammar, text: string): boolean {
  let place = grammar.start;
  for (const byte of new TextEncoder().encode(text)) {
    const next = grammar.next(place, vocabulary.tokens[vocabulary.child(0, byte)]!);
    if (next === undefined || next === null) return false;
    place = next;
  }
  return grammar.next(place, 2) === null;
}

describe("a schema's texts", () => {
  /** 1,000 schemas, in blocks, as a test's time is limited. */
  const BLOCKS = Array.from({ length: 10 }, (_, block) => block * 100);

  test.each(BLOCKS)("are valid, whatever is chosen among the allowed tokens: 100 schemas from seed %i", (first) => {
    let written = 0;
    for (let seed = first + 1; seed <= first + 100; seed++) {
      const random = new Random(seed);
      const schema = randomSchema(random);
      const text = randomText(grammarOf(schema), table, random, 400);
      if (text === null) continue;
      written++;
      expect(schemaFault(schema, text), `seed ${seed}: ${text} against ${JSON.stringify(schema)}`).toBeNull();
    }
    expect(written).toBeGreaterThan(75);
  });
});

test.each<[object | boolean, readonly string[], readonly string[]]>([
  [{ type: "integer", minimum: -3, maximum: 12 }, ["-3", "0", "9", "12"], ["-4", "13", "1.0", "007", "-0.5"]],
  [{ type: "integer", exclusiveMinimum: 99, maximum: 1005 }, ["100", "999", "1005"], ["99", "1006", "-100"]],
  [{ type: "number", minimum: 0.25, maximum: 0.75 }, ["0.25", "0.50", "0.75"], ["0.24", "0.76", "0", "1"]],
  [
    { type: "number", exclusiveMinimum: -1.5, exclusiveMaximum: 2 },
    ["-1.4", "0", "1.99", "-0.5"],
    ["-1.5", "2", "2.0"],
  ],
  [{ type: "number", exclusiveMinimum: 0 }, ["0.001", "1", "12.5"], ["0", "-1", "0.0"]],
  [{ type: "integer", multipleOf: 7 }, ["0", "7", "-14", "7007"], ["1", "13", "700001"]],
  [{ type: "integer", multipleOf: 25 }, ["0", "25", "1175", "-150"], ["5", "1180"]],
  [{ type: "string", minLength: 1, maxLength: 2 }, ['"a"', '"äö"', '"\\n\\""'], ['""', '"abc"', '"\\ud800"']],
  [{ type: "string", pattern: "^[äöü€]{2,3}$" }, ['"äö"', '"€€€"'], ['"ä"', '"äöüä"', '"äa"', '"á€"']],
  [{ type: "string", pattern: "^(?:[^x]{2})*$" }, ['""', '"ab"', '"äöüß"', '"👩a"'], ['"a"', '"axbb"']],
  [{ type: "string", pattern: '^[a-c]"?$' }, ['"b"', '"c\\""'], ['"d"', '"b""']],
  [{ type: "string", format: "date" }, ['"2024-02-28"', '"1999-12-31"'], ['"2024-02-30"', '"1999-13-01"']],
  [{ enum: [1, "a", null] }, ["1", '"a"', "null"], ["2", "a"]],
  [{ type: ["string", "null"], enum: ["a", 1, null] }, ['"a"', "null"], ["1"]],
  [
    { type: "array", items: { type: "boolean" }, minItems: 1, maxItems: 2 },
    ["[true]", "[true, false]"],
    ["[]", "[true,false]"],
  ],
  [
    { properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } }, required: ["b"] },
    ['{"a": 1, "b": 2, "c": 3}', '{"b": 2}', '{"b": 2, "c": 3}', '{"a": 1, "b": 2}'],
    ["{}", '{"a": 1}', '{"b": 2, "a": 1}', '{, "b": 2}'],
  ],
  [
    {
      $defs: {
        list: {
          anyOf: [
            { type: "null" },
            { type: "array", prefixItems: [{ $ref: "#/$defs/list" }], items: false, minItems: 1 },
          ],
        },
      },
      $ref: "#/$defs/list",
    },
    ["null", "[null]", "[[[null]]]"],
    ["[]", "[null, null]"],
  ],
  [{ allOf: [{ type: "object", properties: { a: { const: 1 } } }, { required: ["a"] }] }, ['{"a": 1}'], ["{}"]],
  [
    { type: "object", additionalProperties: { type: "null" }, minProperties: 1 },
    ['{"x": null}', '{"x": null, "y": null}'],
    ["{}"],
  ],
  [true, ["1e5", "[1, {}]", '"x"', "-0.5"], ["01", "[1,]", "nul"]],
])("the texts of %j", (schema, inside, outside) => {
  const grammar = grammarOf(schema);
  for (const text of inside) expect(allows(grammar, text), text).toBe(true);
  for (const text of outside) expect(allows(grammar, text), text).toBe(false);
});

test.each<[object | boolean, string]>([
  [{ type: "array", uniqueItems: true }, "uniqueItems"],
  [{ not: { type: "null" } }, "not"],
  [{ type: "object", patternProperties: {} }, "patternProperties"],
  [{ if: {}, else: {} }, "if"],
  [{ type: "string", format: "regex" }, "format"],
  [{ type: "string", pattern: "a(?=b)" }, "pattern"],
  [{ type: "string", pattern: "a", minLength: 2 }, "minLength"],
  [{ type: "string", maxLength: 100_000 }, "maxLength"],
  [{ type: "integer", multipleOf: 17 }, "multipleOf"],
  [{ oneOf: [{ type: "string" }, { type: "string", maxLength: 3 }] }, "oneOf"],
  [{ $ref: "https://example.com/schema" }, "$ref"],
  [{ properties: { a: { type: "array", contains: {} } } }, "properties.a.contains"],
])("%j is refused, naming the keyword", (schema, where) => {
  const written = () => schemaBody(schema, new Rules());
  expect(written).toThrow(SchemaError);
  try {
    written();
  } catch (error) {
    expect(error).toMatchObject({ unsupported: true, path: where.split(".") });
  }
});

test("a schema that only itself can satisfy allows no text", () => {
  const schema = { type: "object", properties: { next: { $ref: "#" } }, required: ["next"] };
  expect(() => grammarOf(schema)).toThrow(GrammarError);
});

test("a schema whose grammar would be too large is refused", () => {
  const properties = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`p${i}${"x".repeat(200)}`, {}]));
  expect(() => schemaBody({ properties }, new Rules())).toThrow(/larger than 64 KiB/);
});

test("a reference that is no percent-encoding refers to no place", () => {
  expect(() => schemaBody({ $ref: "#/%" }, new Rules())).toThrow(/a place in the schema, which has no '#\/%'/);
  expect(() => schemaBody({ $ref: "#/constructor" }, new Rules())).toThrow(/a place in the schema/);
});

test("leniently, each of many keywords that are not supported is read once", () => {
  let read = 0;
  const pattern = { pattern: "(", type: "string" };
  const counted = new Proxy(pattern, {
    ownKeys(target) {
      read++;
      return Reflect.ownKeys(target);
    },
  });
  const properties = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`p${i}`, counted]));
  lenientSchemaBody({ type: "object", properties }, new Rules());
  expect(read).toBe(400);
});

test("leniently, a keyword that does not go with another is left out, and the other is kept to", () => {
  const rules = new Rules();
  const schema = { type: "object", properties: { a: { minLength: 2, anyOf: [{ pattern: "^[ab]+$" }, { const: 1 }] } } };
  const grammar = new TokenGrammar(rules.grammar(lenientSchemaBody(schema, rules)), vocabulary);
  expect(allows(grammar, '{"a": "a"}')).toBe(true);
  expect(allows(grammar, '{"a": 1}')).toBe(true);
  expect(allows(grammar, '{"a": "c"}')).toBe(false);
});

test("leniently, keywords that are not supported are passed over and the others are kept to", () => {
  const rules = new Rules();
  const body = lenientSchemaBody(
    { type: "object", properties: { a: { type: "array", items: { const: 1 }, uniqueItems: true }, b: { not: {} } } },
    rules,
  );
  const grammar = new TokenGrammar(rules.grammar(body), vocabulary);
  expect(allows(grammar, '{"a": [1, 1], "b": "any"}')).toBe(true);
  expect(allows(grammar, '{"a": [2]}')).toBe(false);
});
