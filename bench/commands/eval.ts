import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { bundleName, ensureBundle } from "../../models/bundle.ts";
import { readCalibration } from "../../models/calibration.ts";
import { liveCases, type Model, replayCases } from "../eval/cases.ts";
import { type EvalCase, evaluate, type RowResult } from "../eval/evaluate.ts";
import { isStaticTree, type Method, parseMethod } from "../eval/methods.ts";
import { type LoadedBundle, loadBundle } from "../eval/model.ts";
import { EVAL_HELP, type EvalOptions, parseEvalOptions } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";
import { readRows } from "../eval/rows.ts";
import { formatTable, summarise } from "../eval/summary.ts";
import type { Difference } from "../eval/ties.ts";
import { checkTrace, type Generation, readTrace, traceHeader, writeTrace } from "../eval/trace.ts";
import { formatWhatIf, whatIf } from "../eval/what-if.ts";
import { npmCommand, provenance } from "../provenance.ts";
import { readTune } from "../suite/common.ts";
import { RESULTS } from "../suite/options.ts";
import { runSuite } from "../suite/stages.ts";

const DEFAULT_MAX_TOKENS = 128;

/** Progress goes to stderr: stdout is for results. */
const note = (line: string) => console.error(line);

try {
  const argv = process.argv.slice(2);
  if (argv[0] === "--suite") await runSuite(argv.slice(1));
  else {
    const options = parseEvalOptions(argv);
    if (options === null) console.log(EVAL_HELP);
    else await main(options);
  }
} catch (error) {
  note(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

async function main(options: EvalOptions): Promise<void> {
  const run = { ...provenance("eval", options.seed), options };
  const rows = options.replay === null ? await runModel(options) : await runTrace(options, options.replay);
  const summary = summarise(rows, options.methods, options.seed);
  console.log(formatTable(summary));
  const placements = options.distance === null ? null : whatIf(options.distance, summary.overall);
  if (placements !== null) console.log(formatWhatIf(placements));
  if (options.out !== null)
    await writeFile(options.out, `${JSON.stringify({ run, summary, rows: plainRows(rows) })}\n`);
  if (options.json) console.log(JSON.stringify(placements === null ? summary : { ...summary, placements }));
}

async function runTrace(options: EvalOptions, path: string): Promise<RowResult[]> {
  const trace = await readTrace(path);
  const dir = await ensureBundle(options.replayed ?? trace.header.bundle);
  const bundle = await loadBundle(dir, basename(dir));
  checkTrace(trace, bundle.manifest);
  const maxTokens = Math.min(options.maxTokens ?? trace.header.maxTokens, trace.header.maxTokens);
  const kept = keepGenerations(trace.generations, options);
  const neural = await bundle.neural(await methodsOf(options, bundle));
  const bar = new Progress(kept.length);
  try {
    const cases = replayCases(kept, { manifest: bundle.manifest, neural }, maxTokens);
    return await runCases(cases, bundle, options, () => bar.step());
  } finally {
    bar.stop();
    await neural?.release();
  }
}

async function runModel(options: EvalOptions): Promise<RowResult[]> {
  const inputs = await readRows(options.prompts, options);
  if (inputs.length === 0) throw new Error("no rows left to evaluate");
  const bundleDir = await ensureBundle(options.bundle, { provider: options.provider });
  const bundle = await loadBundle(bundleDir, await bundleName(bundleDir));
  const maxTokens = options.maxTokens ?? DEFAULT_MAX_TOKENS;
  const engine = await createInProcessEngine(bundleDir, {
    ...(options.provider === null ? {} : { provider: options.provider }),
    ...(options.threads === null ? {} : { threads: options.threads }),
  });
  const neural = options.saveTrace === null ? null : await bundle.neural(await methodsOf(options, bundle));
  const bar = new Progress(inputs.length);
  try {
    const model: Model = { engine, manifest: bundle.manifest, text: bundle.text, neural };
    const generations: Generation[] = [];
    const cases = liveCases(inputs, model, {
      maxTokens,
      autoNodes: options.autoNodes,
      onGeneration: options.saveTrace === null ? null : (generation) => generations.push(generation),
      onSkipped: (row, tokens) =>
        bar.say(`${row.id}: left out, its prompt of ${tokens} tokens leaves no room for ${maxTokens} more`),
      onRow: () => bar.step(),
    });
    const results = await runCases(
      cases,
      bundle,
      options,
      () => undefined,
      (line) => bar.say(line),
    );
    if (options.saveTrace !== null) {
      const header = traceHeader(bundle.manifest, maxTokens, npmCommand("eval"));
      await writeTrace(options.saveTrace, { header, generations });
    }
    return results;
  } finally {
    bar.stop();
    await engine.close();
    await neural?.release();
  }
}

async function runCases(
  cases: AsyncIterable<EvalCase>,
  bundle: LoadedBundle,
  options: EvalOptions,
  onCase: () => void,
  say: (line: string) => void = note,
): Promise<RowResult[]> {
  const methods = await methodsOf(options, bundle);
  return evaluate(cases, {
    methods,
    parts: await bundle.parts(methods),
    onCase,
    onDifference: (done, method, difference) => say(describeDifference(done, method, difference)),
  });
}

async function methodsOf(options: EvalOptions, { manifest }: LoadedBundle): Promise<Method[]> {
  const calibration = options.calibration === null ? null : await readCalibration(options.calibration);
  const tune = options.methods.some(isStaticTree) ? await readTune(join(RESULTS, "tune.json"), manifest) : null;
  const rankShares = tune?.rank_shares ?? null;
  return options.methods.map((name) => parseMethod(name, manifest, { ...options, calibration, rankShares }));
}

function describeDifference(done: EvalCase, method: Method, difference: Difference | null): string {
  const where = `${done.id} turn ${done.turn + 1}: ${method.name} differs from plain decoding`;
  if (difference === null) return `${where} and did not when run again`;
  const gap = (value: number | null) => (value === null ? "beyond the likeliest 20" : value.toFixed(4));
  const { at, plainToken, methodToken, plainGap, methodGap, floatTie } = difference;
  const gaps = `logit gap ${gap(plainGap)} alone, ${gap(methodGap)} in the drafted pass`;
  return `${where} at token ${at}: ${methodToken} for ${plainToken}; ${gaps}: ${floatTie ? "a float tie" : "NOT a float tie"}`;
}

function keepGenerations(generations: readonly Generation[], options: EvalOptions): Generation[] {
  if (options.split !== null) throw new Error("--split: choose the split when the trace is made");
  const kept: Generation[] = [];
  const seen = new Map<string, number>();
  let rows = 0;
  let keeping = false;
  for (const generation of generations) {
    if (generation.turn === 0) {
      const inCategory = seen.get(generation.category) ?? 0;
      keeping = rows < (options.limit ?? Infinity) && inCategory < (options.perCategory ?? Infinity);
      if (keeping) {
        rows++;
        seen.set(generation.category, inCategory + 1);
      }
    }
    if (keeping) kept.push(generation);
  }
  return kept;
}

function plainRows(rows: readonly RowResult[]) {
  return rows.map((row) => ({ ...row, methods: Object.fromEntries(row.methods) }));
}
