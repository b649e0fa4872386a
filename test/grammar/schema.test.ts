import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { describe, expect, test } from "vitest";
import { Rules } from "../../edge/grammar/rules.ts";
import { SchemaError } from "../../edge/grammar/schema-error.ts";
import { lenientSchemaBody, schemaBody } from "../../edge/grammar/schema-grammar.ts";
import { createTokenizer } from "../../edge/text/tokenizer.ts";
import { TINY_DIR } from "../helpers/tiny.ts";
import { TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import { Vocabulary } from "../../shared/grammar/vocabulary.ts";
import { Random } from "../helpers/random.ts";
import { randomSchema } from "./random-schema.ts";
import { randomText } from "./walk.ts";

const table = createTokenizer(readFileSync(join(TINY_DIR, "tokenizer.json")));
const vocabulary = new Vocabulary(table, [2, 0]);
