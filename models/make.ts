import { copyFile, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type BundleManifest,
  type FileEntry,
  MANIFEST_FORMAT,
  type PackEntry,
  type Precision,
} from "../shared/manifest.ts";
import { readPackHeader } from "../shared/ngram/format.ts";
import { sha256, sha256OfFile } from "./cache.ts";
import { calibrationOf } from "./calibration.ts";
import { buildBase } from "./compile/base.ts";
import { buildHeads, headsInfo } from "./compile/heads.ts";
import { writeIntegerModel } from "./compile/integer.ts";
import { writeIntegerHeads } from "./compile/integer-heads.ts";
import { buildNeural } from "./compile/neural.ts";
import { GgufFile } from "./gguf.ts";
import { type LlamaWeights, readLlama } from "./llama.ts";
import type { Progress } from "./pull.ts";
import { readSafetensors, type SafeTensors } from "./safetensors.ts";
import { type BundleSource, MODELS_DIR } from "./source.ts";
import { rebuildTokenizer } from "./tokenizer.ts";

/** The local rescorer, which a bundle need not have: none or one. */
export async function neuralFile(dir: string): Promise<string[]> {
  return (await readdir(dir)).filter((name) => name === "neural.safetensors");
}

export async function packFiles(dir: string, endings: readonly string[]): Promise<string[]> {
  const names = await readdir(join(dir, "packs")).catch(() => []);
  return names
    .filter((n) => endings.some((ending) => n.endsWith(ending)))
    .sort()
    .map((n) => join("packs", n));
}

/** Shares of the work, for the progress bar. */
const BASE = 80;
const HEADS = 10;
const NEURAL = 10;

/** Compiles a bundle into the empty directory `dir`; its manifest is the caller's to write. */
export async function compile(
  source: BundleSource,
  precision: Precision,
  weights: string,
  dir: string,
  progress: Progress,
  signal?: AbortSignal,
): Promise<BundleManifest> {
  const total = BASE + HEADS + NEURAL;
  const stage = (done: number) => {
    signal?.throwIfAborted();
    progress("compile", done, total);
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
  const base = await compileBase(llama, contextTokens, info.taps, precision, put, dir, (share) => stage(BASE * share));
  const compiledHeads = await compileHeads(llama, heads, source.topK, precision, put, dir);
  stage(BASE + HEADS);
  const [neuralPath] = await neuralFile(join(MODELS_DIR, source.name));
  const neural = neuralPath === undefined ? null : await compileNeural(neuralPath);
  llama.assertComplete();
  const tokenizer = await put("tokenizer.json", rebuildTokenizer(gguf));
  const { layers, width, kvHeads, headDim, ffn, vocabSize, normEps } = llama.config;
  const ropeFrequencies = [...llama.config.ropeFrequencies];
  const manifest: BundleManifest = {
    format: MANIFEST_FORMAT,
    name: source.name,
    license: source.license,
    notice: source.notice,
    architecture: {
      layers,
      width,
      heads: llama.config.heads,
      kvHeads,
      headDim,
      ffn,
      vocabSize,
      contextTokens,
      normEps,
      ropeFrequencies,
    },
    precision,
    taps: info.taps,
    costs: source.costs,
    graphs: { base, heads: compiledHeads, neural },
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
  stage(total);
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

type Put = (path: string, bytes: Uint8Array | string) => Promise<FileEntry>;

/** The base model's file: integer weights, or a graph. */
async function compileBase(
  llama: LlamaWeights,
  contextTokens: number,
  taps: readonly number[],
  precision: Precision,
  put: Put,
  dir: string,
  onProgress: (share: number) => void,
): Promise<FileEntry> {
  if (precision === "fp32") {
    const base = await put("base.onnx", await buildBase(llama, contextTokens, taps));
    onProgress(1);
    return base;
  }
  const path = "base.safetensors";
  const written = await writeIntegerModel(join(dir, path), llama, (done, total) => onProgress(done / total));
  return { path, ...written };
}

/** The draft heads' file: integer weights, or a graph. */
async function compileHeads(
  llama: LlamaWeights,
  heads: SafeTensors,
  topK: number,
  precision: Precision,
  put: Put,
  dir: string,
): Promise<FileEntry> {
  if (precision === "fp32") return await put("heads.onnx", await buildHeads(llama, heads, topK));
  const path = "heads.safetensors";
  return { path, ...(await writeIntegerHeads(join(dir, path), llama, heads, topK)) };
}
