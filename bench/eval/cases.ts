import type { ChatMessage } from "../../edge/openai/params.ts";
import type { NeuralModel } from "../../gpu-worker/neural.ts";
import type { BundleInfo, StepEngine } from "../../shared/engine.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { type Completion, complete, NO_PARTS, traceCompletion } from "./complete.ts";
import { copiedTokens } from "./copied.ts";
import { emptyCounters } from "./counters.ts";
import type { EvalCase } from "./evaluate.ts";
import { parseMethod } from "./methods.ts";
import { replayEngine } from "./replay.ts";
import type { EvalRow } from "./rows.ts";
import type { Generation } from "./trace.ts";

/** Text to tokens and back, as the served API does it. */
export interface EvalText {
  /** Plain continuation: no template, as `/v1/completions` reads a string. */
  prompt(text: string): Uint32Array;
  /** Throws an Error for a bundle without a chat template. */
  chat(messages: readonly ChatMessage[]): Uint32Array;
  /** Control tokens left out. */
  decode(tokens: readonly number[]): string;
}

export interface Model {
  readonly engine: StepEngine;
  readonly manifest: BundleManifest;
  readonly text: EvalText;
  /** For replaying a method that rescores locally; null: no method does. */
  readonly neural: NeuralModel | null;
}

export interface CaseOptions {
  readonly maxTokens: number;
  /** Task.autoNodes of every case. */
  readonly autoNodes: boolean;
  /** Given every plain completion together with its lattices: then cases replay instead of running the model. */
  readonly onGeneration: ((generation: Generation) => void) | null;
  /** Rows left out because their prompt does not fit the context. */
  readonly onSkipped: (row: EvalRow, promptTokens: number) => void;
  readonly onRow: () => void;
}

/**
 * Plain greedy decoding of every row, answer by answer. The next user turn follows the model's own plain
 * answer, so every method is asked the same.
 */
export async function* liveCases(
  rows: readonly EvalRow[],
  model: Model,
  options: CaseOptions,
): AsyncGenerator<EvalCase> {
  for (const row of rows) {
    const { input } = row;
    if (input.kind === "prompt") {
      const done = await liveCase(row, 0, model.text.prompt(input.prompt), model, options);
      if (done !== null) yield done;
    } else {
      const messages = [...input.before];
      for (const [turn, content] of input.turns.entries()) {
        messages.push({ role: "user", content });
        const done = await liveCase(row, turn, model.text.chat(messages), model, options);
        if (done === null) break;
        yield done;
        messages.push({ role: "assistant", content: model.text.decode(done.plain.output) });
      }
    }
    options.onRow();
  }
}

async function liveCase(
  row: EvalRow,
  turn: number,
  prompt: Uint32Array,
  model: Model,
  options: CaseOptions,
): Promise<EvalCase | null> {
  const { manifest } = model;
  const room = Math.min(manifest.architecture.contextTokens, LIMITS.contextTokens) - prompt.length;
  if (prompt.length === 0 || room < options.maxTokens) {
    options.onSkipped(row, prompt.length);
    return null;
  }
  const limits = { maxTokens: options.maxTokens, eosTokens: manifest.eosTokens };
  const { autoNodes } = options;
  const task = { engine: model.engine, model: manifest.name, prompt, limits, autoNodes };
  const { id, category, references } = row;
  if (options.onGeneration === null) {
    const plain = parseMethod("ar", manifest, { alpha: null, pack: null, heads: null, topK: null });
    const completion = await complete(task, plain, NO_PARTS, []);
    return { id, category, turn, task, plain: completion, timed: true, references };
  }
  const { completion, lattices, runnersUp } = await traceCompletion(task, manifest);
  const generation = { id, category, turn, prompt, output: Uint32Array.from(completion.output), lattices, runnersUp };
  options.onGeneration(generation);
  return replayCase(generation, model, options.maxTokens);
}

/** The cases of a stored trace, each cut to `maxTokens`, which is at most the trace's own. */
export async function* replayCases(
  generations: readonly Generation[],
  model: Pick<Model, "manifest" | "neural">,
  maxTokens: number,
): AsyncGenerator<EvalCase> {
  for (const generation of generations) yield replayCase(generation, model, maxTokens);
}

function replayCase(
  generation: Generation,
  { manifest, neural }: Pick<Model, "manifest" | "neural">,
  maxTokens: number,
): EvalCase {
  const { id, category, turn, prompt } = generation;
  const output = generation.output.subarray(0, maxTokens);
  // The limit itself, not the length: how deep a draft may go near the end depends on it.
  const limits = { maxTokens, eosTokens: manifest.eosTokens };
  const engine = replayEngine({ ...generation, output }, bundleInfo(manifest), neural, manifest.copyHeads);
  const task = { engine, model: manifest.name, prompt, limits, autoNodes: false };
  return { id, category, turn, task, plain: plainCompletion(prompt, output), timed: false, references: [] };
}

/** What plain decoding counts: one token per step after the prefill's. */
function plainCompletion(prompt: Uint32Array, output: Uint32Array): Completion {
  const steps = output.length - 1;
  const empty = emptyCounters();
  // Every step commits the model's own token, whatever might have been drafted.
  const tokens = { ...empty.receipt.tokens, bonus: steps };
  const receipt = { steps, unrefined: steps, refined: steps, best: steps, tokens };
  const copies = copiedTokens(prompt, output).slice(1).filter(Boolean).length;
  const copied = { tokens: copies, steps: copies };
  const counters = { ...empty, tokens: steps, steps, outputTokens: output.length, copied, receipt };
  return { output: [...output], counters, logProbs: [], runnersUp: [], decodeMs: 0 };
}

function bundleInfo(manifest: BundleManifest): BundleInfo {
  return {
    model: manifest.name,
    tokenizerHash: manifest.tokenizer.sha256,
    vocabSize: manifest.architecture.vocabSize,
    contextTokens: manifest.architecture.contextTokens,
    latticeHeads: manifest.latticeHeads,
    topK: manifest.topK,
    provider: "replay",
    costs: { pass: 1, row: 0, wanted: 0, context: 0, heads: 0 },
    neural: manifest.graphs.neural !== null,
    pair: manifest.graphs.pair != null,
  };
}
