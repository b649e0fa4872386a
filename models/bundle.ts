import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BundleManifest, type FileEntry, MANIFEST_FORMAT, type PackEntry } from "../shared/manifest.ts";
import { readPackHeader } from "../shared/ngram/format.ts";
import { cacheDir, sha256, sha256OfFile } from "./cache.ts";
import { calibrationOf } from "./calibration.ts";
import { buildBase } from "./compile/base.ts";
import { buildHeads, headsInfo } from "./compile/heads.ts";
import { PRECISIONS, type Precision } from "./compile/matrix.ts";
import { buildNeural } from "./compile/neural.ts";
import { GgufFile } from "./gguf.ts";
import { readLlama } from "./llama.ts";
import { type Progress, pull } from "./pull.ts";
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
  readonly force?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * The directory of the compiled bundle `name`, made where it is missing or its inputs have changed:
 * weights fetched and checked, graphs compiled, everything moved into place at once.
 * Throws WeightsUnavailable where the weights cannot be had.
 */
export async function ensureBundle(name: string, options: EnsureOptions = {}): Promise<string> {
  const source = await readSource(name);
  const precision = options.precision ?? source.precision;
  if (!PRECISIONS.includes(precision)) throw new Error(`precision is one of ${PRECISIONS.join(", ")}`);
  const own = precision === source.precision;
  const root = join(cacheDir(), "bundles");
  const target = join(root, own ? name : `${name}-${precision}`);
  const inputs = await inputsOf(source, precision);
  const stamp = await readFile(join(target, "inputs.sha256"), "utf8").catch(() => "");
  if (stamp === inputs && !options.force) {
    await renewCalibration(name, target);
    return target;
  }
  const progress = options.onProgress ?? (() => undefined);
  const weights = await pull(source, progress, options.signal);
  await mkdir(root, { recursive: true });
  const work = await mkdtemp(join(root, ".making-"));
  try {
    await compile(source, precision, weights, work, progress, options.signal);
    await writeFile(join(work, "inputs.sha256"), inputs);
    await rm(target, { recursive: true, force: true });
    await rename(work, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return target;
}

/** A calibration is fitted again more often than graphs change, and is in the manifest alone. */
async function renewCalibration(name: string, dir: string): Promise<void> {
  const path = join(dir, "manifest.json");
  const manifest = JSON.parse(await readFile(path, "utf8")) as BundleManifest;
  const calibration = await calibrationOf(name);
  if (JSON.stringify(manifest.calibration ?? null) === JSON.stringify(calibration)) return;
  await writeFile(`${path}.part`, manifestText({ ...manifest, calibration }));
  await rename(`${path}.part`, path);
}

function manifestText(manifest: BundleManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** What decides the compiled graphs, as one hash: the committed inputs, the precision, the compiler. */
async function inputsOf(source: BundleSource, precision: Precision): Promise<string> {
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
): Promise<void> {
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
  await put("manifest.json", manifestText(manifest));
  stage(stages);
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
