import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { MODELS_DIR } from "../../models/source.ts";
import { ROOT } from "../../scripts/paths.ts";
import { type LoadedBundle, loadBundle } from "../eval/model.ts";
import { methodNames } from "../eval/options.ts";
import { rankShares } from "../eval/static-tree.ts";
import { checkTrace, readTrace } from "../eval/trace.ts";
import { provenance } from "../provenance.ts";
import { availableMethods, save, storedBundle } from "../suite/common.ts";
import { RESULTS } from "../suite/options.ts";
import { SETS, TUNED_METHODS } from "../suite/sets.ts";
import { OVERALL, STORED_FORMAT, type StoredTune } from "../suite/stored.ts";
import { tracePath } from "../suite/trace.ts";
import { formatTuned, type NamedTrace, tune } from "../suite/tune.ts";

/** Finest where the best ones lie. */
const ALPHAS = "0,0.05,0.1,0.15,0.2,0.25,0.3,0.4,0.5,0.6,0.8";

const HELP = `npm run tune -- [options]
Finds the alpha with the most block efficiency, per rescorer and task, and writes the table that npm run eval -- --suite
reads; and counts how often each rank of the heads' candidates is right, which shapes static trees. Makes no model calls; traces come from npm run eval -- --suite trace --split tune, or from --save-trace.
  --traces DIR    of the suite's traces (.cache/traces)
  --replay FILE   these traces instead; may be repeated
  --methods A,B   (${TUNED_METHODS.join(",")}); "default" stands for these
  --alphas A,B    (${ALPHAS})
  --apply         also make the alpha that is best overall for the bundle's default rescorer its default
  --out FILE      (bench/results/tune.json)`;

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      traces: { type: "string", default: join(ROOT, ".cache", "traces") },
      replay: { type: "string", multiple: true, default: [] as string[] },
      methods: { type: "string", default: "default" },
      alphas: { type: "string", default: ALPHAS },
      apply: { type: "boolean", default: false },
      out: { type: "string", default: join(RESULTS, "tune.json") },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const alphas = values.alphas.split(",").map(Number);
  if (alphas.some((alpha) => !(alpha >= 0 && alpha <= 1))) throw new Error("--alphas: numbers from 0 to 1");
  const run = provenance("tune", null);
  const wanted = methodNames(values.methods).flatMap((name) => (name === "default" ? TUNED_METHODS : [name]));
  const traces = values.replay.length > 0 ? await namedFiles(values.replay) : await suiteTraces(values.traces);
  const bundle = await openBundle(traces);
  const methods = availableMethods(wanted, bundle.manifest, null);
  const result = await tune(traces, bundle, methods, alphas);
  console.log(formatTuned(result));
  const stored: StoredTune = {
    format: STORED_FORMAT,
    kind: "tune",
    run,
    bundle: storedBundle(bundle.manifest),
    sources: traces.map(({ set, title, trace: { header, generations } }) => ({
      set,
      title,
      trace_command: header.command,
      prompts: generations.filter(({ turn }) => turn === 0).length,
      max_tokens: header.maxTokens,
    })),
    result,
    rank_shares: rankShares(traces.flatMap(({ trace }) => trace.generations)),
  };
  await save(values.out, stored);
  if (values.apply) await applyDefault(stored, bundle);
}

async function suiteTraces(dir: string): Promise<NamedTrace[]> {
  const found: NamedTrace[] = [];
  for (const { name, title } of SETS) {
    const trace = await readTrace(tracePath(dir, name, "tune")).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (trace !== null) found.push({ set: name, title, trace });
  }
  if (found.length === 0)
    throw new Error(`no traces in ${dir}: make them with npm run eval -- --suite trace --split tune`);
  return found;
}

async function namedFiles(paths: readonly string[]): Promise<NamedTrace[]> {
  return Promise.all(paths.map(async (path) => ({ set: path, title: path, trace: await readTrace(path) })));
}

/** Of all traces: they must agree. */
async function openBundle(traces: readonly NamedTrace[]): Promise<LoadedBundle> {
  const name = traces[0]!.trace.header.bundle;
  const bundle = await loadBundle(await ensureBundle(name), name);
  for (const { trace } of traces) {
    if (trace.header.bundle !== name) throw new Error("the traces are of several bundles");
    checkTrace(trace, bundle.manifest);
  }
  return bundle;
}

/** Rewrites the one number in models/<bundle>/source.json, whose layout is kept. */
async function applyDefault({ result }: StoredTune, { manifest }: LoadedBundle): Promise<void> {
  const { type, order, pBest } = manifest.defaults.rescorer;
  const method = type === "ngram" ? `ngram-${order}${pBest > 1 ? `-${pBest}best` : ""}` : type;
  const alpha = result[method]?.[OVERALL]?.best_alpha;
  if (alpha === undefined) throw new Error(`--apply: the default rescorer, ${method}, was not tuned`);
  const path = join(MODELS_DIR, manifest.name, "source.json");
  const source = await readFile(path, "utf8");
  const changed = source.replace(/("alpha": *)[\d.]+/, `$1${alpha}`);
  await writeFile(path, changed);
  console.error(`models/${manifest.name}/source.json: alpha ${alpha} for ${method}`);
}
