import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildBase } from "../../models/compile/base.ts";
import { writeIntegerModel } from "../../models/compile/integer.ts";
import { GgufFile } from "../../models/gguf.ts";
import { readLlama } from "../../models/llama.ts";
import type { Precision } from "../../shared/manifest.ts";
import { BaseRunner, type PlainRunner } from "./base-runner.ts";
import { IntegerRunner } from "./integer-runner.ts";
import { because, bundleAtHand, weightsAtHand } from "./weights.ts";

interface Case {
  /** Prompt and the reference's greedy continuation. */
  readonly tokens: readonly number[];
  /** Tokens of the prompt. */
  readonly prompt: number;
  /** Per position: the likeliest next token, and its logit's lead over the next. */
  readonly argmax: readonly number[];
  readonly lead: readonly number[];
  /** From the prompt's last position on: the likeliest tokens and their logits. */
  readonly top_ids: readonly (readonly number[])[];
  readonly top_logits: readonly (readonly number[])[];
  /** The first values of every feature at the last position. */
  readonly hidden: readonly number[];
}
interface Golden {
  readonly taps: readonly number[];
  readonly cases: readonly Case[];
}

const HIDDEN_SHOWN = 16;

/** How far a model may be from the float32 reference: fp32 by the order of sums, int8 by rounding. */
interface Tolerance {
  /** Root mean square over the logits shown. */
  readonly logits: number;
  /** Largest difference of a logit shown. */
  readonly worst: number;
  /** Of the largest hidden value shown. */
  readonly hidden: number;
  /** A lead below this may fall either way. */
  readonly lead: number;
  /** Between the same row in one pass and in another. */
  readonly passes: number;
}
const FP32: Tolerance = { logits: 2e-3, worst: 1e-2, hidden: 2e-3, lead: 5e-3, passes: 2e-3 };
/** Integers: no difference at all between passes. From the reference, some three times what was measured. */
const TINY_INT8: Tolerance = { logits: 0.1, worst: 0.25, hidden: 0.06, lead: 0.3, passes: 0 };
const SMOLLM_INT8: Tolerance = { logits: 0.6, worst: 2, hidden: 0.15, lead: 1.2, passes: 0 };

interface Subject {
  readonly golden: Golden;
  readonly runner: PlainRunner;
  readonly width: number;
  readonly vocabSize: number;
}

function read(name: string): Golden {
  return JSON.parse(readFileSync(new URL(`golden/${name}.logits.json`, import.meta.url), "utf8")) as Golden;
}

/** The checks every compiled base model passes. */
function behavesAsReference(subject: () => Subject, tolerance: Tolerance): void {
  it("has the reference's logits and choices after a prefill", async () => {
    const { runner, golden, vocabSize } = subject();
    for (const { tokens, prompt, argmax, lead, top_ids, top_logits } of golden.cases) {
      runner.reset();
      const out = await runner.run(tokens);
      let squares = 0;
      let count = 0;
      let worst = 0;
      for (let at = prompt - 1; at < tokens.length; at++) {
        const ids = top_ids[at - prompt + 1]!;
        const expected = top_logits[at - prompt + 1]!;
        ids.forEach((id, i) => {
          const difference = Math.abs(out.logits[at * vocabSize + id]! - expected[i]!);
          squares += difference ** 2;
          worst = Math.max(worst, difference);
          count++;
        });
      }
      expect(Math.sqrt(squares / count)).toBeLessThan(tolerance.logits);
      expect(worst).toBeLessThan(tolerance.worst);
      argmax.forEach((token, at) => {
        if (lead[at]! > tolerance.lead) expect(out.argmax[at], `position ${at}`).toBe(token);
      });
    }
  });

  it("has the reference's features in `hidden`: the taps, then the final state", async () => {
    const { runner, golden, width } = subject();
    for (const { tokens, hidden } of golden.cases) {
      runner.reset();
      const all = [...tokens.keys()];
      const out = await runner.run(tokens, undefined, undefined, [all.length - 1]);
      const features = hidden.length / HIDDEN_SHOWN;
      expect(out.hidden.length).toBe(features * width);
      for (let f = 0; f < features; f++) {
        const expected = hidden.slice(f * HIDDEN_SHOWN, (f + 1) * HIDDEN_SHOWN);
        const scale = Math.max(...expected.map(Math.abs));
        expected.forEach((value, i) => {
          expect(Math.abs(out.hidden[f * width + i]! - value) / scale).toBeLessThan(tolerance.hidden);
        });
      }
    }
  });

  it("gives the same logits step by step over the cache as in one pass", async () => {
    const { runner, golden, vocabSize } = subject();
    const { tokens, prompt } = golden.cases[0]!;
    runner.reset();
    const whole = await runner.run(tokens);
    runner.reset();
    await runner.run(tokens.slice(0, prompt));
    for (let at = prompt; at < tokens.length; at++) {
      const out = await runner.run([tokens[at]!]);
      expectClose(out.logits, whole.logits.subarray(at * vocabSize, (at + 1) * vocabSize), tolerance.passes);
    }
  });

  it("scores every branch of a draft tree as that branch alone", async () => {
    const { runner, golden, vocabSize } = subject();
    const { tokens, prompt, top_ids } = golden.cases[1]!;
    const [a, b] = [top_ids[0]![0]!, top_ids[0]![1]!];
    // root -> a -> (b, a), root -> b -> a; rows in an order where branches interleave.
    const root = tokens[prompt - 1]!;
    const rows = [root, a, b, b, a, a];
    const parents = [-1, 0, 0, 1, 2, 1];
    runner.reset();
    await runner.run(tokens.slice(0, prompt - 1));
    const tree = await runner.run(rows, parents, []);
    for (const path of [
      [0, 1, 3],
      [0, 2, 4],
      [0, 1, 5],
    ]) {
      const alone = await runner.run(
        path.map((row) => rows[row]!),
        undefined,
        [],
      );
      path.forEach((row, i) => {
        const branch = tree.logits.subarray(row * vocabSize, (row + 1) * vocabSize);
        expectClose(branch, alone.logits.subarray(i * vocabSize, (i + 1) * vocabSize), tolerance.passes);
      });
    }
  });

  it("keeps only the accepted rows of a tree and goes on from them", async () => {
    const { runner, golden, vocabSize } = subject();
    const { tokens, prompt } = golden.cases[2]!;
    const [next, after] = [tokens[prompt]!, tokens[prompt + 1]!];
    runner.reset();
    const whole = await runner.run(tokens.slice(0, prompt + 2));
    runner.reset();
    await runner.run(tokens.slice(0, prompt - 1));
    // The row of a wrong draft lies between the root and the accepted one.
    await runner.run([tokens[prompt - 1]!, 5, next], [-1, 0, 0], [0, 2]);
    const out = await runner.run([after]);
    expectClose(out.logits, whole.logits.subarray((prompt + 1) * vocabSize), tolerance.passes);
  });
}

/** Equal but for the order of sums in float32; integers are summed exactly. */
function expectClose(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!));
  expect(worst).toBeLessThanOrEqual(tolerance);
}

describe("the tiny base model", () => {
  const subjects = {} as Record<Precision, Subject>;
  let dir = "";
  beforeAll(async () => {
    const golden = read("tiny");
    const llama = await readLlama(await GgufFile.open((await weightsAtHand("tiny"))!));
    const { config } = llama;
    dir = await mkdtemp(join(tmpdir(), "foredraft-golden-"));
    const path = join(dir, "base.safetensors");
    await writeIntegerModel(path, llama, () => undefined);
    const graph = await buildBase(llama, 256, golden.taps, "fp32");
    subjects.fp32 = { ...config, golden, runner: await BaseRunner.open(graph, config) };
    subjects.int8 = { ...config, golden, runner: await IntegerRunner.open(path, config, golden.taps) };
  });
  afterAll(async () => {
    await Promise.all(Object.values(subjects).map(({ runner }) => runner.close()));
    await rm(dir, { recursive: true, force: true });
  });

  describe("as a graph in fp32", () => behavesAsReference(() => subjects.fp32, FP32));
  describe("in integers", () => behavesAsReference(() => subjects.int8, TINY_INT8));

  it("says in integers nearly what it says in fp32, over the whole vocabulary", async () => {
    /** Kullback-Leibler, of the integer model's next token from the graph's, in nats. */
    const divergences: number[] = [];
    for (const { tokens } of subjects.fp32.golden.cases) {
      const outputs = await Promise.all(
        [subjects.fp32, subjects.int8].map(({ runner }) => {
          runner.reset();
          return runner.run(tokens);
        }),
      );
      const { vocabSize } = subjects.fp32;
      for (let at = 0; at < tokens.length; at++) {
        const [p, q] = outputs.map(({ logits }) => logSoftmax(logits.subarray(at * vocabSize, (at + 1) * vocabSize)));
        divergences.push(p!.reduce((sum, value, id) => sum + Math.exp(value) * (value - q![id]!), 0));
      }
    }
    expect(divergences.reduce((a, b) => a + b) / divergences.length).toBeLessThan(0.002);
    expect(Math.max(...divergences)).toBeLessThan(0.015);
  });
});

function logSoftmax(logits: Float32Array): Float64Array {
  const most = Math.max(...logits);
  const mass = logits.reduce((sum, value) => sum + Math.exp(value - most), 0);
  return Float64Array.from(logits, (value) => value - most - Math.log(mass));
}

describe("the smollm2-135m base model in integers", async () => {
  const bundle = await bundleAtHand("smollm2-135m");
  if (bundle === null) {
    it.skip(because("the bundle smollm2-135m is not in the cache (npm run bundle -- smollm2-135m)"));
    return;
  }
  const { architecture, graphs, taps } = bundle.manifest;
  let subject: Subject;
  beforeAll(async () => {
    const config = { ...architecture, ropeFrequencies: Float64Array.from(architecture.ropeFrequencies) };
    const runner = await IntegerRunner.open(join(bundle.dir, graphs.base.path), config, taps);
    subject = { ...architecture, golden: read("smollm2-135m"), runner };
  });
  afterAll(() => subject.runner.close());
  behavesAsReference(() => subject, SMOLLM_INT8);
});
