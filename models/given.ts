import { realpath, stat } from "node:fs/promises";
import { basename } from "node:path";
import type { PassCosts } from "../shared/engine.ts";
import { LIMITS } from "../shared/limits.ts";
import { integerFault } from "./compile/integer.ts";
import { GgufFile } from "./gguf.ts";
import { fromHub } from "./hub.ts";
import { type LlamaConfig, readLlama } from "./llama.ts";
import type { PullOptions } from "./pull.ts";
import { type BundleSource, readSource } from "./source.ts";
import { lastTokens } from "./tokenizer.ts";

const HUB = "hf:";
const LONGEST_NAME = 64;

/** Whether `model` names a file, here or on the Hugging Face Hub, and not a committed bundle. */
export function isGiven(model: string): boolean {
  return model.startsWith(HUB) || /\.gguf$/i.test(model);
}

/**
 * What is known of a GGUF file that has no committed half: everything comes from its metadata, drafts need no heads.
 * Integers where the kernel takes the model, else the graph, which is said. Throws Error naming what is not supported.
 */
export async function givenSource(model: string, options: PullOptions): Promise<BundleSource> {
  const found = model.startsWith(HUB) ? await fromHub(model.slice(HUB.length), options) : model;
  const path = await realpath(found).catch(() => {
    throw new Error(`there is no file ${found}`);
  });
  const { size, ctimeMs } = await stat(path);
  const file = await GgufFile.open(path);
  const { config } = await readLlama(file);
  const fault = integerFault(config);
  const name = await nameOf(path);
  if (fault !== null) options.onNotice?.(`${name}: ${fault}; served as a float32 graph, which is slower`);
  return {
    name,
    license: file.hasKey("general.license") ? file.string("general.license") : "unknown",
    notice: null,
    gguf: { path, identity: `${size} ${ctimeMs}` },
    heads: null,
    precision: fault === null ? "int8" : "fp32",
    contextTokens: LIMITS.contextTokens,
    topK: LIMITS.topK,
    eosTokens: lastTokens(file),
    costs: costsOf(config),
    defaults: {
      heads: 0,
      topK: LIMITS.topK,
      rescorer: { type: "ngram", model: "", order: LIMITS.ngramOrder, alpha: 0, pBest: 1, prompt: true },
      neuralAlpha: 0.5,
    },
  };
}

/** The file's name as a bundle's, other than that of any committed one. */
async function nameOf(path: string): Promise<string> {
  const plain = basename(path)
    .replace(/\.gguf$/i, "")
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, LONGEST_NAME);
  const name = plain === "" ? "model" : plain;
  const taken = await readSource(name).then(
    () => true,
    () => false,
  );
  return taken ? `${name}-gguf` : name;
}

/** As measured on SmolLM2-135M, by the number of weights: the engine learns the rest. */
function costsOf({ layers, width, heads, kvHeads, headDim, ffn, vocabSize }: LlamaConfig): PassCosts {
  const perLayer = width * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * ffn);
  const scale = (layers * perLayer + vocabSize * width) / 134e6;
  return { pass: 6.5 * scale, row: 0.25 * scale, wanted: 0.08 * scale, context: 0.3 * scale, heads: 0 };
}
