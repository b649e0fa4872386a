import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildBase } from "../../models/compile/base.ts";
import { GgufFile } from "../../models/gguf.ts";
import { readLlama } from "../../models/llama.ts";
import { BaseRunner } from "./base-runner.ts";
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

/** How far a graph may be from the float32 reference: fp32 by the order of sums, int8 by rounding. */
interface Tolerance {
  /** Root mean square over the logits shown. */
  readonly logits: number;
  /** Of the largest hidden value shown. */
  readonly hidden: number;
  /** A lead below this may fall either way. */
  readonly lead: number;
}
const FP32: Tolerance = { logits: 2e-3, hidden: 2e-3, lead: 5e-3 };
const INT8: Tolerance = { logits: 0.6, hidden: 0.15, lead: 1.2 };

interface Subject {
  readonly golden: Golden;
  readonly runner: BaseRunner;
  readonly width: number;
  readonly vocabSize: number;
}

function read(name: string): Golden {
  return JSON.parse(readFileSync(new URL(`golden/${name}.logits.json`, import.meta.url), "utf8")) as Golden;
}

/** The checks every compiled base graph passes. */
function behavesAsReference(subject: () => Subject, tolerance: Tolerance): void {
  it("has the reference's logits and choices after a prefill", async () => {
    const { runner, golden, vocabSize } = subject();
    for (const { tokens, prompt, argmax, lead, top_ids, top_logits } of golden.cases) {
      runner.reset();
      const out = await runner.run(tokens);
      let squares = 0;
      let count = 0;
      for (let at = prompt - 1; at < tokens.length; at++) {
        const ids = top_ids[at - prompt + 1]!;
        const expected = top_logits[at - prompt + 1]!;
        ids.forEach((id, i) => {
          squares += (out.logits[at * vocabSize + id]! - expected[i]!) ** 2;
          count++;
        });
      }
      expect(Math.sqrt(squares / count)).toBeLessThan(tolerance.logits);
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
      expectClose(out.logits, whole.logits.subarray(at * vocabSize, (at + 1) * vocabSize));
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
        expectClose(branch, alone.logits.subarray(i * vocabSize, (i + 1) * vocabSize));
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
    expectClose(out.logits, whole.logits.subarray((prompt + 1) * vocabSize));
  });
}

/**
 * Equal but for the order of sums in float32. The 8-bit graphs sum attention in float64 for this: a
 * difference in the last bit would turn into tenths of a logit by way of another 8-bit code.
 */
function expectClose(actual: Float32Array, expected: Float32Array): void {
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!));
  expect(worst).toBeLessThan(2e-3);
}

describe.each([
  ["fp32", FP32],
  ["int8", INT8],
] as const)("the tiny base graph in %s", (precision, tolerance) => {
  let subject: Subject;
  beforeAll(async () => {
    const golden = read("tiny");
    const llama = await readLlama(await GgufFile.open((await weightsAtHand("tiny"))!));
    const model = await buildBase(llama, 256, golden.taps, precision);
    const { width, vocabSize } = llama.config;
    const pastValues = precision === "fp32" ? "float32" : "float64";
    subject = { golden, runner: await BaseRunner.open(model, { ...llama.config, pastValues }), width, vocabSize };
  });
  afterAll(() => subject.runner.close());
  behavesAsReference(() => subject, tolerance);
});

describe("the smollm2-135m base graph", async () => {
  const bundle = await bundleAtHand("smollm2-135m");
  if (bundle === null) {
    it.skip(because("the bundle smollm2-135m is not in the cache (npm run bundle -- smollm2-135m)"));
    return;
  }
  const { manifest, dir } = bundle;
  let subject: Subject;
  beforeAll(async () => {
    const runner = await BaseRunner.open(join(dir, manifest.graphs.base.path), {
      ...manifest.architecture,
      pastValues: manifest.pastValues,
    });
    subject = { ...manifest.architecture, golden: read("smollm2-135m"), runner };
  });
  afterAll(() => subject.runner.close());
  behavesAsReference(() => subject, INT8);
});
