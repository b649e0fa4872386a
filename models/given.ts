import { realpath, stat } from "node:fs/promises";
import { basename } from "node:path";
import type { PassCosts } from "../shared/engine.ts";
import { LIMITS } from "../shared/limits.ts";
import { isArchive } from "./archive.ts";
import { integerFault } from "./compile/integer.ts";
import { type MedusaHeads, medusaHeads } from "./compile/medusa.ts";
import { GgufFile } from "./gguf.ts";
import { HUB } from "./hub.ts";
import { type LlamaConfig, readLlama } from "./llama.ts";
import type { PullOptions } from "./pull.ts";
import { readSafetensors, type SafeTensors } from "./safetensors.ts";
import { type BundleSource, readSource } from "./source.ts";
import { lastTokens } from "./tokenizer.ts";

const LONGEST_NAME = 64;

/** Whether `model` names a file or directory, here or on the Hugging Face Hub, and not a committed bundle. */
export function isGiven(model: string): boolean {
  return model.startsWith(HUB) || isGguf(model) || isArchive(model) || /[\\/]/.test(model);
}

export function isGguf(path: string): boolean {
  return /\.gguf$/i.test(path);
}

/**
 * What is known of a GGUF file that has no committed half: everything comes from its metadata, drafts need no heads.
 * Integers where the kernel takes the model, else the graph, which is said. Throws Error naming what is not supported.
 */
export async function givenSource(found: string, options: PullOptions): Promise<BundleSource> {
  const path = await realpath(found).catch(() => {
    throw new Error(`there is no file ${found}`);
  });
  const { size, ctimeMs } = await stat(path);
  const file = await GgufFile.open(path);
  const { config } = await readLlama(file);
  const fault = integerFault(config);
  const name = await freeName(basename(path).replace(/\.gguf$/i, ""), "gguf");
  if (fault !== null) options.onNotice?.(`${name}: ${fault}; served as a float32 graph, which is slower`);
  return {
    name,
    license: file.hasKey("general.license") ? file.string("general.license") : "unknown",
    notice: null,
    gguf: { path, identity: `${size} ${ctimeMs}` },
    heads: null,
    folder: null,
    precision: fault === null ? "int8" : "fp32",
    contextTokens: LIMITS.contextTokens,
    topK: LIMITS.topK,
    eosTokens: lastTokens(file),
    costs: costsOf(config),
    defaults: {
      heads: 0,
      topK: LIMITS.topK,
      rescorer: { type: "tree", model: "", order: LIMITS.ngramOrder, alpha: 0, pBest: 1, prompt: true },
      neuralAlpha: 0.5,
    },
  };
}

/**
 * The same file with draft heads that were published for it, as Medusa does: a bundle of its own. Throws Error where the
 * file of the heads is none of these.
 */
export async function withHeads(source: BundleSource, found: string): Promise<BundleSource> {
  if (source.folder !== null) throw new Error(`--heads goes with a GGUF file; ${source.name} has heads of its own`);
  if (/\.(pt|pth|bin)$/i.test(found)) {
    throw new Error(
      `${found} is a pickle, which may run anything: models/README.md says how to take the tensors out of it`,
    );
  }
  const path = await realpath(found).catch(() => {
    throw new Error(`--heads: there is no file ${found}`);
  });
  const file = await readSafetensors(path);
  const medusa = medusaHeads(file);
  if (medusa === null) throw new Error(`${found} holds no heads of Medusa's: there is no tensor 0.0.linear.weight`);
  const rescorer = { ...source.defaults.rescorer, type: "none", prompt: false } as const;
  return {
    ...source,
    name: `${source.name}-medusa`,
    heads: path,
    costs: { ...source.costs, heads: MS_PER_WEIGHT * weightsOf(medusa, file) },
    defaults: { ...source.defaults, heads: medusa.count, rescorer },
  };
}

/** A name as a bundle's, other than that of any committed one, which `kind` would tell apart. */
export async function freeName(wanted: string, kind: string): Promise<string> {
  const plain = wanted
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, LONGEST_NAME);
  const name = plain === "" ? "model" : plain;
  const taken = await readSource(name).then(
    () => true,
    () => false,
  );
  return taken ? `${name}-${kind}` : name;
}

/** Of a pass of one row: SmolLM2-135M's, in integers on two cores. */
const MS_PER_WEIGHT = 6.5 / 134e6;

/** As measured on SmolLM2-135M, by the number of weights: the engine learns the rest. */
function costsOf({ layers, width, heads, kvHeads, headDim, ffn, vocabSize }: LlamaConfig): PassCosts {
  const perLayer = width * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * ffn);
  const weights = layers * perLayer + vocabSize * width;
  const scale = weights / 134e6;
  return { pass: MS_PER_WEIGHT * weights, row: 0.3 * scale, wanted: 0.12 * scale, context: 0.41 * scale, heads: 0 };
}

/** How many weights Medusa's heads have. */
function weightsOf({ prefix, count, blocks }: MedusaHeads, file: SafeTensors): number {
  const [rows, columns] = file.get(`${prefix}0.${blocks}.weight`).shape as [number, number];
  return count * columns * (rows + blocks * columns);
}
