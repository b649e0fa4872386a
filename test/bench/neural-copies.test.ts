import { afterEach, expect, test } from "vitest";
import { liveCases, type Model, replayCases } from "../../bench/eval/cases.ts";
import { NO_PARTS } from "../../bench/eval/complete.ts";
import { evaluate } from "../../bench/eval/evaluate.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import type { EvalRow } from "../../bench/eval/rows.ts";
import type { Generation } from "../../bench/eval/trace.ts";
import { LONGEST_MATCH } from "../../gpu-worker/copy-heads.ts";
import { SessionEngine } from "../../gpu-worker/engine/engine.ts";
import type { NeuralInputs, NeuralModel } from "../../gpu-worker/neural.ts";
import { ModelRunner } from "../../gpu-worker/runner.ts";
import type { BundleManifest, CopyHeads } from "../../shared/manifest.ts";
import { ToyEngine, ToyModel, toyHash } from "../gpu-worker/toy-model.ts";
import { TOY_MANIFEST } from "./toy-engine.ts";

/** The local rescorer over heads that copy: beside the model, and over recorded lattices with their gates. */

const MAX_TOKENS = 40;
const perMatch = (value: number) => Array.from({ length: LONGEST_MATCH + 1 }, (_, match) => value + match);
const COPY_HEADS: CopyHeads = {
  match: [0, 1, 2].map(() => perMatch(0)),
  age: [-0.2, -0.1, 0],
  gateMatch: [-1, -2, 0].map(perMatch),
  gateAgree: [1, 1, 2],
};
const FILE = { path: "", bytes: 0, sha256: "00" };
const toy = new ToyModel({ copyHeads: COPY_HEADS });
const { vocabSize, contextTokens, latticeHeads, topK } = toy.shape;
const MANIFEST: BundleManifest = {
  ...TOY_MANIFEST,
  architecture: { ...TOY_MANIFEST.architecture, vocabSize, contextTokens },
  graphs: { ...TOY_MANIFEST.graphs, neural: FILE },
  latticeHeads,
  topK,
  copyHeads: COPY_HEADS,
  eosTokens: [],
};
const rows: EvalRow[] = ["abcabcab", "once upon", "1 1 1 2"].map((prompt, i) => ({
  id: `row/${i}`,
  category: "text",
  split: null,
  input: { kind: "prompt", prompt },
  references: [],
}));

/** Has an opinion on what is not copied, by a hash of what it has read. */
class ToyNeural implements NeuralModel {
  readonly size = 1;
  calls: Omit<NeuralInputs, "lattice">[] = [];

  async run({ lattice, ...inputs }: NeuralInputs) {
    this.calls.push({ ...inputs, committed: Array.from(inputs.committed) });
    const read = toyHash([inputs.state[0]!, ...Array.from(inputs.committed)]) % 997;
    const scores = Float32Array.from(lattice.tokens, (token, i) => {
      const rest = Math.max(0, Math.exp(lattice.logProbs[i]!) - inputs.copied[i]!);
      return Math.log(inputs.copied[i]! + 1e-6 + (rest * (toyHash([read, inputs.bonus, token]) % 100)) / 100);
    });
    return { state: Float32Array.of(read), scores };
  }

  async release(): Promise<void> {}
}

const opened: SessionEngine[] = [];
afterEach(() => Promise.all(opened.splice(0).map((engine) => engine.close())));

function liveModel(): Model & { readonly neural: ToyNeural } {
  const neural = new ToyNeural();
  const runner = new ModelRunner(new ToyModel({ copyHeads: COPY_HEADS }), neural);
  const { info, pages, maxRows } = new ToyEngine();
  const lost = () => Promise.reject(new Error("not started again"));
  const model = { info: { ...info, neural: true }, runner, pages, maxRows, restart: lost, close: async () => {} };
  const engine = new SessionEngine(model, {});
  opened.push(engine);
  const prompt = (text: string) => Uint32Array.from([...text], (c) => c.codePointAt(0)! % vocabSize);
  return { engine, manifest: MANIFEST, text: { prompt, chat: () => prompt(""), decode: () => "" }, neural };
}

function method(name: string) {
  return parseMethod(name, MANIFEST, { alpha: 0.5, pack: null, heads: null, topK: null });
}

function live(names: readonly string[], model: Model, generations: Generation[] | null) {
  const cases = liveCases(rows, model, {
    maxTokens: MAX_TOKENS,
    autoNodes: false,
    onGeneration: generations === null ? null : (generation) => generations.push(generation),
    onSkipped: () => {},
    onRow: () => {},
  });
  return evaluate(cases, { methods: names.map(method), parts: NO_PARTS });
}

test("is given the same over a trace as beside the model, copied parts too, to the last bit", async () => {
  const beside = liveModel();
  const counted = await live(["neural"], beside, null);
  const generations: Generation[] = [];
  await live([], liveModel(), generations);
  const over = { manifest: MANIFEST, neural: new ToyNeural() };
  const cases = replayCases(generations, over, MAX_TOKENS);
  const replayed = await evaluate(cases, { methods: [method("neural")], parts: NO_PARTS });
  const counters = (results: typeof counted) => results.map((row) => row.methods.get("neural")!.counters);
  expect(counters(replayed)).toEqual(counters(counted));
  expect(over.neural.calls).toEqual(beside.neural.calls);
  const copying = over.neural.calls.filter(({ copied }) => copied.some((part) => part > 0));
  expect(copying.length).toBeGreaterThan(over.neural.calls.length / 2);
  expect(counted.every((row) => row.methods.get("neural")?.identical)).toBe(true);
});

test("a trace without gates is refused, but only where they are needed", async () => {
  const generations: Generation[] = [];
  await live([], liveModel(), generations);
  const old = generations.map((generation) => ({
    ...generation,
    lattices: generation.lattices.map((lattice) => ({ ...lattice, gates: null })),
  }));
  const replay = (name: string, copyHeads: CopyHeads | null) => {
    const model = { manifest: { ...MANIFEST, copyHeads }, neural: new ToyNeural() };
    return evaluate(replayCases(old, model, MAX_TOKENS), { methods: [method(name)], parts: NO_PARTS });
  };
  await expect(replay("neural", COPY_HEADS)).rejects.toThrow(/gates .* make it again/);
  expect(await replay("none", COPY_HEADS)).toHaveLength(rows.length);
  expect(await replay("neural", null)).toHaveLength(rows.length);
});
