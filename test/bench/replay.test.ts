import { describe, expect, test } from "vitest";
import { type CaseOptions, liveCases, replayCases } from "../../bench/eval/cases.ts";
import { NO_PARTS } from "../../bench/eval/complete.ts";
import { evaluate, type RowResult } from "../../bench/eval/evaluate.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import type { EvalRow } from "../../bench/eval/rows.ts";
import { summarise } from "../../bench/eval/summary.ts";
import { decodeTrace, encodeTrace, type Generation, TRACED_RUNNERS_UP } from "../../bench/eval/trace.ts";
import type { StepEngine, StepSession } from "../../shared/engine.ts";
import { TOY_HEADS, TOY_MANIFEST, TOY_TEXT, TOY_TOP_K, toyEngine, toyGreedy } from "./toy-engine.ts";

const METHODS = ["ar", "none", "0gram-4best", "0gram-16best", "oracle-2", "oracle-4", "prompt-lookup"];
const OPTIONS = { alpha: null, pack: null, heads: null, topK: null };
const methods = METHODS.map((name) => parseMethod(name, TOY_MANIFEST, OPTIONS));
const model = { engine: toyEngine(), manifest: TOY_MANIFEST, text: TOY_TEXT, neural: null };

const rows: EvalRow[] = Array.from({ length: 12 }, (_, i) => ({
  id: `row/${i}`,
  category: i % 3 === 0 ? "chat" : "text",
  split: null,
  references: [],
  input:
    i % 3 === 0
      ? { kind: "chat", before: [], turns: [`say ${i}`, `and ${i * 7}`] }
      : { kind: "prompt", prompt: `once ${i} upon ${i * i}` },
}));

function caseOptions(maxTokens: number, generations: Generation[] | null, autoNodes = false): CaseOptions {
  return {
    maxTokens,
    autoNodes,
    onGeneration: generations === null ? null : (generation) => generations.push(generation),
    onSkipped: () => undefined,
    onRow: () => undefined,
  };
}

function live(maxTokens: number) {
  return evaluate(liveCases(rows, model, caseOptions(maxTokens, null)), { methods, parts: NO_PARTS });
}

/** All but the times, which a replay has not. */
function untimed(results: readonly RowResult[]): RowResult[] {
  return results.map((row) => ({
    ...row,
    methods: new Map([...row.methods].map(([name, result]) => [name, { ...result, decodeMs: 0 }])),
  }));
}

async function trace(maxTokens: number): Promise<Generation[]> {
  const generations: Generation[] = [];
  await evaluate(liveCases(rows, model, caseOptions(maxTokens, generations)), { methods: [], parts: NO_PARTS });
  return generations;
}

function throughFile(generations: Generation[], maxTokens: number): readonly Generation[] {
  const header = {
    bundle: "toy",
    tokenizerHash: "00",
    vocabSize: 40,
    heads: TOY_HEADS,
    topK: TOY_TOP_K,
    runnersUp: TRACED_RUNNERS_UP,
    maxTokens,
    command: "",
  };
  return decodeTrace(encodeTrace({ header, generations })).generations;
}

describe("live evaluation", () => {
  test("every method gives plain decoding's tokens, and the oracle bounds the others", async () => {
    const { overall } = summarise(await live(24), METHODS, 1);
    expect(overall.ar).toMatchObject({ block_efficiency: 1, prompts: 12, completions: 16, identical_to_plain: 12 });
    for (const name of METHODS) expect(overall[name]?.identical_to_plain, name).toBe(12);
    const efficiency = (name: string) => overall[name]?.block_efficiency ?? 0;
    expect(efficiency("none")).toBeGreaterThan(1);
    expect(efficiency("0gram-16best")).toBeGreaterThan(efficiency("none"));
    expect(efficiency("oracle-4")).toBeGreaterThanOrEqual(efficiency("oracle-2"));
    expect(efficiency("oracle-2")).toBeGreaterThanOrEqual(efficiency("none"));
  });

  test("every method commits the same tokens, in its own number of steps", async () => {
    const results = await live(24);
    for (const row of results) {
      const tokens = new Set([...row.methods.values()].map((method) => method.counters.tokens));
      expect(tokens.size).toBe(1);
    }
  });

  test("drafts of as many nodes as pay give the same tokens, and the nodes that were verified are counted", async () => {
    let verified = 0;
    const engine: StepEngine = {
      async open(...args) {
        const session = await model.engine.open(...args);
        const step: StepSession["step"] = async (index, draft, signal) => {
          const result = await session.step(index, draft, signal);
          verified += draft.chances.filter((chance) => chance >= result.threshold).length;
          return result;
        };
        return { ...session, step };
      },
    };
    const drafted = async (method: (typeof methods)[number], autoNodes: boolean) => {
      verified = 0;
      const cases = liveCases(rows, { ...model, engine }, caseOptions(24, null, autoNodes));
      const { overall } = summarise(await evaluate(cases, { methods: [method], parts: NO_PARTS }), [method.name], 1);
      expect(overall[method.name], method.name).toMatchObject({ identical_to_plain: 12, drafted_tokens: verified });
      return verified;
    };
    for (const method of methods.slice(1)) {
      expect(await drafted(method, true), method.name).toBeLessThan(await drafted(method, false));
    }
  });

  test("an engine that answers otherwise when drafted to is found out", async () => {
    const lying = toyEngine((tokens) => (tokens.length % 11 === 0 ? 3 : (tokens.at(-1)! * 7 + tokens.length) % 40));
    let opens = 0;
    // Plain decoding (the first completion of each prompt) sees one model, drafting another.
    const engine = {
      open: (...args: Parameters<typeof lying.open>) => (opens++ % 2 === 0 ? toyEngine() : lying).open(...args),
    };
    const cases = liveCases(rows.slice(0, 1), { ...model, engine }, caseOptions(8, null));
    const [row] = await evaluate(cases, { methods: methods.slice(1, 2), parts: NO_PARTS });
    expect(row?.methods.get("none")?.identical).toBe(false);
  });

  test("the second turn follows the model's own plain answer", async () => {
    const generations = await trace(8);
    const [first, second] = generations;
    expect(second?.turn).toBe(1);
    const answer = TOY_TEXT.decode([...first!.output]);
    const asked = TOY_TEXT.chat([
      { role: "user", content: "say 0" },
      { role: "assistant", content: answer },
      { role: "user", content: "and 0" },
    ]);
    expect([...second!.prompt]).toEqual([...asked]);
    expect([...second!.output]).toEqual(toyGreedy([...asked], 8));
  });
});

describe("replay", () => {
  test.each([1, 2, 9, 40])("reproduces live counts exactly at %i tokens", async (maxTokens) => {
    const stored = throughFile(await trace(maxTokens), maxTokens);
    const replayed = await evaluate(replayCases(stored, model, maxTokens), { methods, parts: NO_PARTS });
    expect(replayed).toEqual(untimed(await live(maxTokens)));
  });

  test("of a longer trace cut short equals a shorter live run", async () => {
    const stored = throughFile(
      (await trace(40)).filter((generation) => generation.turn === 0),
      40,
    );
    const replayed = await evaluate(replayCases(stored, model, 12), { methods, parts: NO_PARTS });
    const firstTurns = rows.map((row): EvalRow => {
      return row.input.kind === "prompt"
        ? row
        : { ...row, input: { ...row.input, turns: row.input.turns.slice(0, 1) } };
    });
    const cases = liveCases(firstTurns, model, caseOptions(12, null));
    expect(replayed).toEqual(untimed(await evaluate(cases, { methods, parts: NO_PARTS })));
  });
});

describe("trace file", () => {
  test("keeps everything through a round trip", async () => {
    const generations = await trace(9);
    expect(throughFile(generations, 9)).toEqual(generations);
  });

  test("refuses another file, another version and a cut one", async () => {
    const header = {
      bundle: "toy",
      tokenizerHash: "00",
      vocabSize: 40,
      heads: TOY_HEADS,
      topK: TOY_TOP_K,
      runnersUp: TRACED_RUNNERS_UP,
      maxTokens: 3,
      command: "",
    };
    const bytes = encodeTrace({ header, generations: await trace(3) });
    expect(() => decodeTrace(bytes.slice(0, 8))).toThrow("too short");
    expect(() => decodeTrace(bytes.slice(0, -4))).toThrow("cut short");
    expect(() => decodeTrace(Uint8Array.from(bytes, (byte, i) => (i === 0 ? 0 : byte)))).toThrow("not a trace");
    expect(() => decodeTrace(Uint8Array.from(bytes, (byte, i) => (i === 4 ? 9 : byte)))).toThrow("version 9");
  });
});
