import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type BundleManifest,
  type FileEntry,
  type GraphEntry,
  MANIFEST_FORMAT,
  type Precision,
} from "../shared/manifest.ts";
import { sha256 } from "./cache.ts";
import { calibrationOf } from "./calibration.ts";
import { buildBase } from "./compile/base.ts";
import type { TensorStore } from "./compile/graph.ts";
import { buildHeads, type HeadsInfo, headsInfo } from "./compile/heads.ts";
import { writeIntegerModel } from "./compile/integer.ts";
import { writeIntegerHeads } from "./compile/integer-heads.ts";
import { buildMedusaHeads, checkMedusaHeads, medusaHeads } from "./compile/medusa.ts";
import { buildNeural } from "./compile/neural.ts";
import { checkPair, PAIR_FILE, writePair } from "./compile/pair.ts";
import { buildPast } from "./compile/past.ts";
import { traitsOf } from "./compile/traits.ts";
import { GgufFile } from "./gguf.ts";
import { type LlamaConfig, type LlamaWeights, readLlama } from "./llama.ts";
import { copyPacks } from "./packs.ts";
import type { Progress } from "./pull.ts";
import { readSafetensors, type SafeTensors } from "./safetensors.ts";
import { type BundleSource, headsPathOf } from "./source.ts";
import { TensorFile } from "./tensor-file.ts";
import { firstToken, rebuildTokenizer } from "./tokenizer.ts";

/** What a model's folder need not have: the local rescorer and pair scores. */
const OPTIONAL_FILES = ["neural.safetensors", PAIR_FILE] as const;

/** Those of them that it has. */
export async function optionalFiles(dir: string): Promise<string[]> {
  const there = await readdir(dir);
  return OPTIONAL_FILES.filter((name) => there.includes(name));
}

const NO_HEADS: HeadsInfo = { taps: [], count: 0, copy: null };

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
  const { folder } = source;
  const { info, ...drafts } = await readDrafts(source, llama.config);
  const contextTokens = Math.min(source.contextTokens, llama.config.contextTokens);
  const put = async (path: string, bytes: Uint8Array | string): Promise<FileEntry> => {
    await writeFile(join(dir, path), bytes);
    return { path, bytes: Buffer.byteLength(bytes), sha256: sha256(bytes) };
  };
  const compileNeural = async (path: string) =>
    put("neural.onnx", await buildNeural(llama, await readSafetensors(path), precision === "fp32" ? "fp32" : "int8"));
  // What is not supported is to be known before the long part.
  const tokenizer = await put("tokenizer.json", await rebuildTokenizer(gguf));
  const base = await compileBase(llama, contextTokens, info.taps, precision, put, dir, (share) => stage(BASE * share));
  const heads = await compileHeads(llama, drafts, source.topK, precision, put, dir);
  const pair =
    drafts.pair === null ? null : { path: PAIR_FILE, ...(await writePair(join(dir, PAIR_FILE), drafts.pair)) };
  const past = precision === "int8" ? {} : { past: await put("past.onnx", buildPast(llama.config)) };
  stage(BASE + HEADS);
  const neuralPath = await optionalPath(source, "neural.safetensors");
  const neural = neuralPath === null ? null : await compileNeural(neuralPath);
  llama.assertComplete();
  const { layers, width, kvHeads, headDim, ffn, vocabSize, normEps } = llama.config;
  const ropeFrequencies = [...llama.config.ropeFrequencies];
  const traits = traitsOf(llama.config, contextTokens);
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
      ...(traits === null ? {} : { traits }),
    },
    precision,
    taps: info.taps,
    costs: source.costs,
    graphs: { base, heads, neural, pair, ...past },
    latticeHeads: info.count,
    topK: source.topK,
    copyHeads: info.copy,
    tokenizer,
    chatTemplate: gguf.hasKey("tokenizer.chat_template") ? gguf.string("tokenizer.chat_template") : null,
    bosToken: firstToken(gguf),
    eosTokens: source.eosTokens,
    packs: await copyPacks(folder, dir, tokenizer.sha256),
    calibration: await calibrationOf(source),
    defaults: source.defaults,
  };
  stage(total);
  return manifest;
}

/** Where a file lies that the model's folder may have; null: it has none. */
async function optionalPath({ folder }: BundleSource, name: (typeof OPTIONAL_FILES)[number]): Promise<string | null> {
  return folder !== null && (await optionalFiles(folder)).includes(name) ? join(folder, name) : null;
}

/** The trained files that draft, null where there is none. */
interface Drafts {
  readonly heads: SafeTensors | null;
  readonly pair: SafeTensors | null;
}

/** Throws Error where they fit neither the model nor one another. */
async function readDrafts(source: BundleSource, config: LlamaConfig): Promise<Drafts & { readonly info: HeadsInfo }> {
  const headsPath = headsPathOf(source);
  const heads = headsPath === null ? null : await readSafetensors(headsPath);
  if (heads !== null && medusaHeads(heads) !== null) checkMedusaHeads(heads, config);
  const pairPath = await optionalPath(source, PAIR_FILE);
  const pair = pairPath === null ? null : await readSafetensors(pairPath);
  if (pair !== null) checkPair(pair, heads, config.vocabSize);
  return { heads, pair, info: heads === null ? NO_HEADS : headsInfo(heads) };
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
): Promise<GraphEntry> {
  if (precision !== "int8") {
    return await putGraph(put, dir, "base", (store) =>
      buildBase(llama, contextTokens, taps, precision, {
        store,
        onLayer: (done) => onProgress(done / llama.config.layers),
      }),
    );
  }
  const path = "base.safetensors";
  const written = await writeIntegerModel(join(dir, path), llama, (done, total) => onProgress(done / total));
  return { path, ...written };
}

/** The draft heads' file: integer weights, or a graph; null for a model without them. */
async function compileHeads(
  llama: LlamaWeights,
  { heads, pair }: Drafts,
  topK: number,
  precision: Precision,
  put: Put,
  dir: string,
): Promise<GraphEntry | null> {
  if (heads === null) return null;
  if (medusaHeads(heads) !== null) {
    return await putGraph(put, dir, "heads", (store) => buildMedusaHeads(llama, heads, topK, precision, store));
  }
  if (precision !== "int8") {
    return await putGraph(put, dir, "heads", (store) => buildHeads(llama, heads, topK, precision, store, pair));
  }
  const path = "heads.safetensors";
  return { path, ...(await writeIntegerHeads(join(dir, path), llama, heads, topK, pair)) };
}

/** NAME.onnx and, as NAME.onnx.data, its large tensors. */
async function putGraph(
  put: Put,
  dir: string,
  name: string,
  build: (store: TensorStore) => Promise<Uint8Array>,
): Promise<GraphEntry> {
  const path = `${name}.onnx`;
  const file = new TensorFile(dir, `${path}.data`);
  try {
    const graph = await put(path, await build(file));
    const data = file.entry();
    return data === null ? graph : { ...graph, data };
  } finally {
    file.close();
  }
}
