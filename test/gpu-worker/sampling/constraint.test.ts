import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Rules } from "../../../edge/grammar/rules.ts";
import { schemaBody } from "../../../edge/grammar/schema-grammar.ts";
import { createTokenizer, type TextTokenizer } from "../../../edge/text/tokenizer.ts";
import type { SessionEngine } from "../../../gpu-worker/engine/engine.ts";
import { createInProcessEngine } from "../../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../../models/bundle.ts";
import { decode } from "../../../shared/decode/run.ts";
import type { OpenSpec, StepEngine } from "../../../shared/engine.ts";
import { Grammars } from "../../../shared/grammar/grammars.ts";
import { createRescorer } from "../../../shared/rescore/index.ts";
import { schemaFault } from "../../grammar/judge.ts";

const SCHEMA = {
  type: "object",
  properties: {
    title_of_the_story: { type: "string", minLength: 5, maxLength: 30 },
    number_of_dogs: { type: "integer", minimum: 2, maximum: 40 },
    colours_of_the_dogs: { type: "array", items: { enum: ["brown", "black", "white"] }, minItems: 2, maxItems: 3 },
  },
  required: ["title_of_the_story", "number_of_dogs", "colours_of_the_dogs"],
  additionalProperties: false,
};
const EOS = [2, 0];
const NEVER = new AbortController().signal;

let dir: string;
let tokenizer: TextTokenizer;
let grammars: Grammars;
let grammar: string;
let roomy: SessionEngine;
let preempted = 0;
/** With a cache that two of the sessions below do not fit in together. */
let narrow: SessionEngine;

beforeAll(async () => {
  dir = await ensureBundle("tiny");
  tokenizer = createTokenizer(await readFile(join(dir, "tokenizer.json")));
  grammars = new Grammars(tokenizer, EOS);
  const rules = new Rules();
  grammar = rules.grammar(schemaBody(SCHEMA, rules));
  roomy = await createInProcessEngine(dir, { threads: 1, kvLimitBytes: 16 << 20 });
  const events = { preempted: () => preempted++ };
  narrow = await createInProcessEngine(dir, { threads: 1, kvLimitBytes: NARROW_BYTES, events });
});
afterAll(async () => {
  await roomy?.close();
  await narrow?.close();
});

const NARROW_BYTES = 80_000;

function specOf(temperature: number, seed: number): OpenSpec {
  return {
    model: "tiny",
    prompt: Uint32Array.from(tokenizer.encodePlain("Once upon a time there were some dogs.")),
    heads: 4,
    topK: 8,
    sampling: { temperature, topP: 0.95, seed },
    logProbs: null,
    neural: null,
    fixed: false,
    tenant: "",
    grammar,
  };
}

/** The answer's tokens. */
async function answer(engine: StepEngine, spec: OpenSpec, guided = true): Promise<number[]> {
  const tokens: number[] = [];
  const events = decode(engine, {
    spec,
    limits: { maxTokens: 200, eosTokens: EOS },
    rescorer: createRescorer({ type: "none" }, null),
    guide: guided ? grammars.of(grammar) : null,
    maxNodes: 63,
    autoNodes: true,
    tokenizerHash: null,
    elsewhere: null,
    signal: NEVER,
    now: () => performance.now(),
  });
  for await (const { committed } of events) tokens.push(...committed.map(({ token }) => token));
  return tokens;
}

function textOf(tokens: readonly number[]): string {
  const shown = tokens.filter((token) => !tokenizer.hidden(token));
  return new TextDecoder().decode(Uint8Array.from(shown.flatMap((token) => [...tokenizer.bytes(token)])));
}

test.each([
  [0, 1],
  [1, 7],
])("at temperature %s a session that goes on from another one's writes the same", async (temperature, seed) => {
  const spec = specOf(temperature, seed);
  const whole = await answer(roomy, spec);
  expect(schemaFault(SCHEMA, textOf(whole))).toBeNull();
  expect(await answer(roomy, spec, false)).toEqual(whole);
  for (const answered of [1, 7, Math.floor(whole.length / 2), whole.length - 2]) {
    const prompt = Uint32Array.of(...spec.prompt, ...whole.slice(0, answered));
    const rest = await answer(roomy, { ...spec, prompt, answered });
    expect(rest, `after ${answered}`).toEqual(whole.slice(answered));
  }
});

test("sessions that take each other's memory write the same", async () => {
  const specs = [1, 2, 3, 4, 5, 6].map((seed) => specOf(1, seed));
  const alone: number[][] = [];
  for (const spec of specs) alone.push(await answer(roomy, spec));
  const together = await Promise.all(specs.map((spec) => answer(narrow, spec)));
  expect(together).toEqual(alone);
  expect(preempted).toBeGreaterThan(0);
});

test("greedily a forced text takes fewer model calls", async () => {
  const counting = (): { engine: StepEngine; calls: () => number } => {
    let calls = 0;
    const engine: StepEngine = {
      async open(spec, signal) {
        const session = await roomy.open(spec, signal);
        return {
          bundle: session.bundle,
          cachedTokens: session.cachedTokens,
          opened: session.opened,
          step: (...step) => {
            calls++;
            return session.step(...step);
          },
          close: () => session.close(),
        };
      },
    };
    return { engine, calls: () => calls };
  };
  const [guided, blind] = [counting(), counting()];
  await answer(guided.engine, specOf(0, 1));
  await answer(blind.engine, specOf(0, 1), false);
  expect(guided.calls()).toBeLessThan(blind.calls() / 1.5);
});
