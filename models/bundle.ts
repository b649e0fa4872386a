import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type BundleManifest, type FileEntry, MANIFEST_FORMAT, type PackEntry } from "../shared/manifest.ts";
import { readPackHeader } from "../shared/ngram/format.ts";
import { cacheDir, sha256, sha256OfFile } from "./cache.ts";
import { calibrationOf } from "./calibration.ts";
import { buildBase } from "./compile/base.ts";
import { buildHeads, headsInfo } from "./compile/heads.ts";
import { PRECISIONS, type Precision } from "./compile/matrix.ts";
import { buildNeural } from "./compile/neural.ts";
import { diskFault } from "./disk.ts";
import { GgufFile } from "./gguf.ts";
import { confirm, examine, type State, seal } from "./intact.ts";
import { readLlama } from "./llama.ts";
import { withLock } from "./lock.ts";
import { type Progress, pull, WeightsUnavailable } from "./pull.ts";
import { readSafetensors } from "./safetensors.ts";
import { type BundleSource, MODELS_DIR, readSource } from "./source.ts";
import { rebuildTokenizer } from "./tokenizer.ts";

export { WeightsUnavailable } from "./pull.ts";

/** Raised whenever the same inputs compile to something else, so that cached bundles are made anew. */
const COMPILER_VERSION = 3;

export interface EnsureOptions {
  /** Another layout of the weights than the bundle's own. */
  readonly precision?: Precision;
  readonly onProgress?: Progress;
  /** What a user should know: damage found, a wait. Left out: stderr. */
  readonly onNotice?: (line: string) => void;
  readonly force?: boolean;
  /** Hashes every file; without it the graphs only where they have changed since they were last hashed. */
  readonly thorough?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * The directory of the compiled bundle `name`, made where it is missing or damaged or its inputs have changed:
 * weights fetched and checked, graphs compiled, everything moved into place at once. One process makes it, others
 * that want it wait. Throws WeightsUnavailable where the weights cannot be had, DiskFault where the cache cannot be
 * written.
 */
export async function ensureBundle(name: string, options: EnsureOptions = {}): Promise<string> {
  const { force = false, thorough = false, onNotice = (line: string) => console.error(line), signal } = options;
  const source = await readSource(name);
  const precision = options.precision ?? source.precision;
  if (!PRECISIONS.includes(precision)) throw new Error(`precision is one of ${PRECISIONS.join(", ")}`);
  const entry = precision === source.precision ? name : `${name}-${precision}`;
  const target = join(cacheDir(), "bundles", entry);
  const inputs = await inputsOf(source, precision);
  const calibration = await calibrationOf(name);
  const look = () => examine(target, inputs, thorough);
  // A calibration is fitted again more often than graphs change, and is in the manifest alone.
  const isDone = ({ manifest }: State) =>
    !force && manifest !== null && JSON.stringify(manifest.calibration ?? null) === JSON.stringify(calibration);
  const startedAt = new Date();
  if (isDone(await look())) {
    await confirm(target, startedAt);
    return target;
  }
  const mend = async () => {
    // Somebody else may have made it meanwhile.
    const state = await look();
    const { manifest, damage } = state;
    if (isDone(state)) return;
    if (manifest !== null && !force) return seal(target, { ...manifest, calibration }, inputs);
    if (damage.length > 0) onNotice(`bundle ${entry} is damaged (${damage.join(", ")}): making it again`);
    try {
      await make(source, precision, target, inputs, { ...options, onNotice });
    } catch (error) {
      throw damage.length > 0 && !signal?.aborted ? inSpite(error as Error, entry, damage) : error;
    }
  };
  const onWait = (holder: string) => onNotice(`waiting for ${holder}, which is making bundle ${entry}`);
  await withLock(`bundle-${entry}`, mend, { onWait, signal });
  return target;
}

/** To be called under the bundle's lock: what an earlier process left of its attempt is removed. */
async function make(
  source: BundleSource,
  precision: Precision,
  target: string,
  inputs: string,
  options: EnsureOptions,
): Promise<void> {
  const { onProgress = () => undefined, onNotice, signal } = options;
  const weights = await pull(source, { onProgress, onNotice, signal });
  const work = join(dirname(target), `.making-${basename(target)}`);
  const old = join(dirname(target), `.old-${basename(target)}`);
  const clear = () => Promise.all([work, old].map((dir) => rm(dir, { recursive: true, force: true })));
  try {
    await clear();
    await mkdir(work, { recursive: true });
    const manifest = await compile(source, precision, weights, work, onProgress, signal);
    await seal(work, manifest, inputs);
    // A directory cannot be replaced by another in one go.
    await rename(target, old).catch(ignoreMissing);
    await rename(work, target);
  } catch (error) {
    throw diskFault(error, work) ?? error;
  } finally {
    await clear();
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** The same kind of error, with what was wrong before. */
function inSpite(error: Error, entry: string, damage: readonly string[]): Error {
  const message = `bundle ${entry} is damaged (${damage.join(", ")}) and cannot be made again: ${error.message}`;
  return error instanceof WeightsUnavailable ? new WeightsUnavailable(message) : new Error(message, { cause: error });
}

/** What decides the compiled graphs, as one hash: the committed inputs, the precision, the compiler. */
export async function inputsOf(source: BundleSource, precision: Precision): Promise<string> {
  const dir = join(MODELS_DIR, source.name);
  const files = [
    source.heads,
    ...(await neuralFile(dir)),
    "source.json",
    ...("file" in source.gguf ? [source.gguf.file] : []),
    ...(await packFiles(dir, [".fdlm", ".json"])),
  ];
  const hashes = await Promise.all(files.map(async (f) => `${f} ${await sha256OfFile(join(dir, f))}`));
  return sha256([`compiler ${COMPILER_VERSION}`, precision, ...hashes].join("\n"));
}

/** The local rescorer, which a bundle need not have: none or one. */
async function neuralFile(dir: string): Promise<string[]> {
  return (await readdir(dir)).filter((name) => name === "neural.safetensors");
}

async function packFiles(dir: string, endings: readonly string[]): Promise<string[]> {
  const names = await readdir(join(dir, "packs")).catch(() => []);
  return names
    .filter((n) => endings.some((ending) => n.endsWith(ending)))
    .sort()
    .map((n) => join("packs", n));
}

async function compile(
  source: BundleSource,
  precision: Precision,
  weights: string,
  dir: string,
  progress: Progress,
  signal?: AbortSignal,
): Promise<BundleManifest> {
  const stages = 4;
  const stage = (done: number) => {
    signal?.throwIfAborted();
    progress("compile", done, stages);
  };
  stage(0);
  const gguf = await GgufFile.open(weights);
  const llama = await readLlama(gguf);
  const heads = await readSafetensors(join(MODELS_DIR, source.name, source.heads));
  const info = headsInfo(heads);
  const contextTokens = Math.min(source.contextTokens, llama.config.contextTokens);
  const put = async (path: string, bytes: Uint8Array | string): Promise<FileEntry> => {
    await writeFile(join(dir, path), bytes);
    return { path, bytes: Buffer.byteLength(bytes), sha256: sha256(bytes) };
  };
  const compileNeural = async (path: string) => {
    const file = await readSafetensors(join(MODELS_DIR, source.name, path));
    return put("neural.onnx", await buildNeural(llama, file, precision));
  };
  const base = await put("base.onnx", await buildBase(llama, contextTokens, info.taps, precision));
  stage(1);
  const headsGraph = await put("heads.onnx", await buildHeads(llama, heads, source.topK, precision));
  stage(2);
  const [neuralPath] = await neuralFile(join(MODELS_DIR, source.name));
  const neural = neuralPath === undefined ? null : await compileNeural(neuralPath);
  stage(3);
  llama.assertComplete();
  const tokenizer = await put("tokenizer.json", rebuildTokenizer(gguf));
  const { layers, width, kvHeads, headDim, vocabSize } = llama.config;
  const manifest: BundleManifest = {
    format: MANIFEST_FORMAT,
    name: source.name,
    license: source.license,
    notice: source.notice,
    architecture: { layers, width, heads: llama.config.heads, kvHeads, headDim, vocabSize, contextTokens },
    precision,
    pastValues: precision === "fp32" ? "float32" : "float64",
    graphs: { base, heads: headsGraph, neural },
    hiddenWidth: width * (info.taps.length + 1),
    latticeHeads: info.count,
    topK: source.topK,
    copyHeads: info.copy,
    tokenizer,
    chatTemplate: gguf.hasKey("tokenizer.chat_template") ? gguf.string("tokenizer.chat_template") : null,
    bosToken: gguf.boolean("tokenizer.ggml.add_bos_token", false) ? gguf.number("tokenizer.ggml.bos_token_id") : null,
    eosTokens: source.eosTokens,
    packs: await copyPacks(source.name, dir, tokenizer.sha256),
    calibration: await calibrationOf(source.name),
    defaults: source.defaults,
  };
  stage(stages);
  return manifest;
}

async function copyPacks(name: string, dir: string, tokenizerHash: string): Promise<PackEntry[]> {
  await mkdir(join(dir, "packs"));
  const packs: PackEntry[] = [];
  for (const path of await packFiles(join(MODELS_DIR, name), [".fdlm"])) {
    const from = join(MODELS_DIR, name, path);
    const header = readPackHeader(await readFile(from));
    if (header.tokenizerHash !== tokenizerHash)
      throw new Error(`models/${name}/${path} was made for another tokenizer`);
    await copyFile(from, join(dir, path));
    const { size } = await stat(from);
    const pack = path.slice("packs/".length, -".fdlm".length);
    packs.push({
      path,
      bytes: size,
      sha256: await sha256OfFile(from),
      name: pack,
      order: header.order,
      ngrams: header.ngrams,
      ...(await trainingNotes(from)),
    });
  }
  return packs;
}

/** What `npm run ngram -- train` wrote beside a pack, if it held text out. */
async function trainingNotes(pack: string): Promise<{ devPerplexity?: number }> {
  const text = await readFile(pack.replace(/\.fdlm$/, ".json"), "utf8").catch(() => null);
  if (text === null) return {};
  const { devPerplexity }: { devPerplexity?: unknown } = JSON.parse(text);
  if (typeof devPerplexity !== "number") throw new Error(`${pack}: no devPerplexity in the .json beside it`);
  return { devPerplexity };
}
