import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { fileOfSet } from "../data/files.ts";
import { type CaseOptions, liveCases, type Model } from "../eval/cases.ts";
import { loadBundle } from "../eval/model.ts";
import { Progress } from "../eval/progress.ts";
import { type EvalRow, readRows } from "../eval/rows.ts";
import { type Generation, traceHeader, writeTrace } from "../eval/trace.ts";
import { npmCommand } from "../provenance.ts";
import type { SuiteOptions } from "./options.ts";
import { promptCount, type Split, type SuiteSet } from "./sets.ts";

interface Job {
  readonly set: SuiteSet;
  readonly split: Split;
  readonly rows: readonly EvalRow[];
}

/** Nobody waits for these answers; a timer takes no more. */
const PATIENCE_MS = 2 ** 31 - 1;

export function tracePath(dir: string, set: string, split: Split): string {
  return join(dir, `${set}.${split}.fdtr`);
}

/** Decodes every set plainly with the heads running, and stores a trace for each set and split. */
export async function traceStage(options: SuiteOptions): Promise<void> {
  const jobs: Job[] = [];
  for (const split of options.splits) {
    for (const set of options.sets) {
      const perCategory = promptCount(set, split, options.scale);
      const file = await fileOfSet(options.data, set.name);
      const rows = await readRows([file], { split, limit: null, perCategory });
      jobs.push({ set, split, rows });
    }
  }
  const bundleDir = await ensureBundle(options.bundle);
  const { manifest, text } = await loadBundle(bundleDir, options.bundle);
  const engine = await createInProcessEngine(bundleDir, {
    maxSessions: options.streams,
    maxWaitMs: PATIENCE_MS,
    ...(options.threads === null ? {} : { threads: options.threads }),
  });
  await mkdir(options.traces, { recursive: true });
  const bar = new Progress(jobs.reduce((sum, job) => sum + job.rows.length, 0));
  let tokens = 0;
  try {
    for (const job of jobs) tokens += await traceSet(job, { engine, manifest, text, neural: null }, options, bar);
  } finally {
    bar.stop();
    await engine.close();
  }
  console.log(`${tokens} tokens traced in ${jobs.length} files under ${options.traces}`);
}

/** Resolves the number of tokens generated. */
async function traceSet({ set, split, rows }: Job, model: Model, options: SuiteOptions, bar: Progress) {
  const generations = await traceRows(rows, model, options.streams, {
    maxTokens: set.maxTokens,
    onSkipped: (row, tokens) => bar.say(`${row.id}: left out, its prompt of ${tokens} tokens is too long`),
    onRow: () => bar.step(),
  });
  const header = traceHeader(model.manifest, set.maxTokens, npmCommand("eval"));
  await writeTrace(tracePath(options.traces, set.name, split), { header, generations });
  return generations.reduce((sum, generation) => sum + generation.output.length, 0);
}

/** The plain answers to `rows`, in their order, `streams` rows at once: a pass over many costs little more than over one. */
async function traceRows(
  rows: readonly EvalRow[],
  model: Model,
  streams: number,
  options: Pick<CaseOptions, "maxTokens" | "onSkipped" | "onRow">,
): Promise<Generation[]> {
  const traced: Generation[][] = rows.map(() => []);
  const waiting = rows.entries();
  const stream = async () => {
    for (const [i, row] of waiting) {
      const onGeneration = (generation: Generation) => traced[i]!.push(generation);
      for await (const _ of liveCases([row], model, { ...options, autoNodes: false, onGeneration }));
    }
  };
  await Promise.all(Array.from({ length: streams }, stream));
  return traced.flat();
}
