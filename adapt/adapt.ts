import { copyFile, mkdir, rm, stat, symlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Model } from "../bench/eval/cases.ts";
import { type LoadedBundle, loadBundle } from "../bench/eval/model.ts";
import { formatTable } from "../bench/eval/summary.ts";
import { createInProcessEngine } from "../gpu-worker/in-process.ts";
import { ensureBundle, sourceOf } from "../models/bundle.ts";
import { cacheDir, sha256, sha256OfFile } from "../models/cache.ts";
import { HUB, hubAddressOf } from "../models/hub.ts";
import { sealPackage } from "../models/package.ts";
import type { Progress } from "../models/pull.ts";
import type { BundleSource } from "../models/source.ts";
import { writeFeatures } from "./features.ts";
import { evaluateDrafts, fitDrafts, traceRows } from "./fit.ts";
import { HEADS, pythonFault, trainHeads } from "./heads.ts";
import type { AdaptOptions } from "./options.ts";
import { writeOwnPack } from "./pack.ts";
import { type BaseWeights, writeReport, writeSource } from "./result.ts";
import { splitRows } from "./rows.ts";
import { type Text, writeTexts } from "./text.ts";
import { patiently, Work } from "./work.ts";

/** Fewer say nothing to heads that begin from random numbers. */
const LEAST_TEXTS = 64;

export interface AdaptShell {
  readonly onProgress: Progress;
  /** What a user should know. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Makes the package; resolves the path of its archive. Each step is done once, whatever stops the run. */
export async function adapt(options: AdaptOptions, shell: AdaptShell): Promise<string> {
  const { model: named, maxTokens, minutes, threads } = options;
  const { say, onProgress, signal } = shell;
  const given = { onProgress, onNotice: say, signal };
  const source = await sourceOf(named, given);
  if (!("path" in source.gguf)) throw new Error(`${named} is no GGUF file`);
  const weights = await baseWeights(source.gguf.path, named);
  const prompts = await Promise.all(options.prompts.map(sha256OfFile));
  const work = await Work.open(options.out, sha256([weights.sha256, maxTokens, ...prompts].join()), minutes);
  const out = resolve(options.out);
  const rows = await splitRows(options.prompts);
  const plainDir = await ensureBundle(named, given);
  const plain = await loadBundle(plainDir, basename(plainDir));

  const texts = await withEngine(plainDir, plain, threads, say, (model) =>
    writeTexts(work, rows.train, model, maxTokens, (share) => onProgress("text", share, 1), signal),
  );
  say(`${texts.length} answers, ${countTokens(texts)} tokens, by the model itself`);
  const pack = await makePack(work, out, texts, plain);
  const heads = await makeHeads(work, out, texts, plainDir, plain, weights, options, shell);
  await linkWeights(weights);
  const name = `${source.name}-drafts`;
  const describe = (defaults: BundleSource["defaults"]) =>
    writeSource(
      out,
      { ...source, name, costs: costsWith(source, heads) },
      weights,
      options.withWeights,
      heads,
      defaults,
    );
  await describe({ ...source.defaults, heads: heads === null ? 0 : HEADS });
  await sealPackage(out);

  const dir = await ensureBundle(out, given);
  const bundle = await loadBundle(dir, basename(dir));
  const from = sha256(JSON.stringify([texts.length, bundle.manifest.graphs.heads?.sha256 ?? null, minutes]));
  const [tuned, tested] = await withEngine(dir, bundle, threads, say, async (model) => {
    const trace = (part: "tune" | "test", share: number) =>
      traceRows(work, part, from, rows[part], model, maxTokens, share, (done) => onProgress(`trace ${part}`, done, 1));
    return [await trace("tune", 0.5), await trace("test", 1)] as const;
  });
  onProgress("fit", 0, 1);
  const { manifest, defaults } = await fitDrafts(tuned, bundle, join(out, "calibration.json"));
  const summary = await evaluateDrafts(tested, { ...bundle, manifest });
  await describe(defaults);
  await writeReport(out, name, summary, {
    minutes,
    "answers by the model": texts.length,
    "tokens of them": countTokens(texts),
    "n-gram pack": pack,
    "draft heads": heads,
    "answers fitted to": tuned.generations.length,
    "answers reported on": tested.generations.length,
  });
  const archive = await sealPackage(out);
  onProgress("fit", 1, 1);
  say(formatTable(summary));
  return archive;
}

async function withEngine<T>(
  dir: string,
  bundle: LoadedBundle,
  threads: number | null,
  say: (line: string) => void,
  run: (model: Model) => Promise<T>,
): Promise<T> {
  return await patiently(async () => {
    const engine = await createInProcessEngine(dir, threads === null ? {} : { threads });
    try {
      return await run({ engine, manifest: bundle.manifest, text: bundle.text, neural: null });
    } finally {
      await engine.close();
    }
  }, say);
}

/** The pack's name. */
async function makePack(work: Work, out: string, texts: readonly Text[], { manifest }: LoadedBundle): Promise<string> {
  const target = join(out, "packs", "self.fdlm");
  const from = String(texts.length);
  if (work.isDone("pack", from)) return "self";
  await mkdir(dirname(target), { recursive: true });
  await writeOwnPack(texts, manifest, target);
  await work.finish("pack", from);
  return "self";
}

/** The file of the heads within the package; null where there are none, which is said with its reason. */
async function makeHeads(
  work: Work,
  out: string,
  texts: readonly Text[],
  plainDir: string,
  { manifest }: LoadedBundle,
  weights: BaseWeights,
  { python, threads }: AdaptOptions,
  { say, onProgress, signal }: AdaptShell,
): Promise<string | null> {
  const file = "heads.safetensors";
  const target = join(out, file);
  const fault =
    python === null
      ? "--no-heads"
      : texts.length < LEAST_TEXTS
        ? `${texts.length} answers are too few to learn from, ${LEAST_TEXTS} are needed: more --minutes or prompts`
        : manifest.precision !== "int8"
          ? "they are trained for models that run in int8"
          : await pythonFault(python);
  if (python === null || fault !== null) {
    say(
      `no draft heads: ${fault}${python === null ? "" : ". With Python and torch (pip install -r train/requirements.txt; --python PROGRAM) the same command adds them"}`,
    );
    await rm(target, { force: true });
    return null;
  }
  const shards = work.path("shards");
  await mkdir(shards, { recursive: true });
  const made = await writeFeatures(
    work,
    shards,
    plainDir,
    texts,
    threads,
    (share) => onProgress("features", share, 1),
    signal,
  );
  const from = `${made} texts`;
  const earlier = (await exists(target)) ? target : null;
  if (work.isDone("heads", from) && earlier !== null) return file;
  await trainHeads(work, python, weights.path, shards, made, manifest, target, earlier, threads, signal);
  await work.finish("heads", from);
  return file;
}

async function baseWeights(path: string, named: string): Promise<BaseWeights> {
  const { size } = await stat(path);
  const url = named.startsWith(HUB) ? hubAddressOf(named) : null;
  return { path, bytes: size, sha256: await sha256OfFile(path), url };
}

/** So that the package is served here without being told where its weights are (models/pull.ts looks there first). */
async function linkWeights({ path, sha256: hash }: BaseWeights): Promise<void> {
  const target = join(cacheDir(), "weights", `${hash.slice(0, 16)}.gguf`);
  if (await exists(target)) return;
  await mkdir(dirname(target), { recursive: true });
  await rm(target, { force: true });
  await symlink(path, target).catch(() => copyFile(path, target));
}

/** Heads take about as long as a row of the model's last product. */
function costsWith({ costs }: BundleSource, heads: string | null): BundleSource["costs"] {
  return heads === null ? costs : { ...costs, heads: 0.05 * costs.pass };
}

function countTokens(texts: readonly Text[]): number {
  return texts.reduce((sum, { output }) => sum + output.length, 0);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
