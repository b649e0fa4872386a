import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { fileOfSet } from "../data/files.ts";
import { liveCases, type Model } from "../eval/cases.ts";
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
  const engine = await createInProcessEngine(bundleDir, options.threads === null ? {} : { threads: options.threads });
  await mkdir(options.traces, { recursive: true });
  const bar = new Progress(jobs.reduce((sum, job) => sum + job.rows.length, 0));
  let tokens = 0;
  try {
    for (const job of jobs)
      tokens += await traceSet(job, { engine, manifest, text, neural: null }, options.traces, bar);
  } finally {
    bar.stop();
    await engine.close();
  }
  console.log(`${tokens} tokens traced in ${jobs.length} files under ${options.traces}`);
}

/** Resolves the number of tokens generated. */
async function traceSet({ set, split, rows }: Job, model: Model, dir: string, bar: Progress): Promise<number> {
  const generations: Generation[] = [];
  const cases = liveCases(rows, model, {
    maxTokens: set.maxTokens,
    autoNodes: false,
    onGeneration: (generation) => generations.push(generation),
    onSkipped: (row, tokens) => bar.say(`${row.id}: left out, its prompt of ${tokens} tokens is too long`),
    onRow: () => bar.step(),
  });
  for await (const _ of cases);
  const header = traceHeader(model.manifest, set.maxTokens, npmCommand("eval"));
  await writeTrace(tracePath(dir, set.name, split), { header, generations });
  return generations.reduce((sum, generation) => sum + generation.output.length, 0);
}
