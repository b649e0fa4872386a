import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import * as z from "zod";
import type { BundleInfo, PassCosts } from "../shared/engine.ts";
import { LIMITS } from "../shared/limits.ts";
import {
  type FileEntry,
  graphFiles,
  MANIFEST_FORMAT,
  PRECISIONS,
  type Precision,
  type Traits,
} from "../shared/manifest.ts";
import { llamaTraits } from "./integer/layout.ts";
import { type ModelShape, PAGE_TOKENS } from "./model.ts";

const count = z.int().min(1);
/** Of a model: larger ones are damage. */
const size = z
  .int()
  .min(1)
  .max(1 << 20);
const time = z.number().min(0);
const file = z.object({ path: z.string().min(1), bytes: count, sha256: z.string().regex(/^[0-9a-f]{64}$/) });

const graph = file.extend({ data: file.optional() });

const scores = z.array(z.number());
const copyHeads = z.object({ match: z.array(scores), age: scores, gateMatch: z.array(scores), gateAgree: scores });

const cap = z.number().positive().nullable();
const traits = z.object({
  biases: z.boolean(),
  headNorms: z.boolean(),
  postNorms: z.boolean(),
  gelu: z.boolean(),
  attentionScale: z.number(),
  attentionCap: cap,
  logitCap: cap,
  window: count.nullable(),
  localRopeFrequencies: z.array(z.number()).nullable(),
  blocks: z.array(z.object({ rotary: z.enum(["global", "local"]).nullable(), windowed: z.boolean() })),
});

/** The part of BundleManifest that the gpu-worker acts on. */
const manifestSchema = z.object({
  format: z.literal(MANIFEST_FORMAT),
  name: z.string().min(1),
  notice: z.string().nullable(),
  architecture: z.object({
    layers: z.int().min(1).max(1024),
    width: size,
    heads: size,
    kvHeads: size,
    headDim: size,
    ffn: size,
    vocabSize: size,
    contextTokens: count,
    normEps: z.number(),
    ropeFrequencies: z.array(z.number()),
    traits: traits.optional(),
  }),
  precision: z.enum(PRECISIONS),
  taps: z.array(z.int().min(0)),
  costs: z.object({ pass: time, row: time, wanted: time, context: time, heads: time }),
  graphs: z.object({
    base: graph,
    heads: graph.nullable(),
    neural: file.nullable(),
    pair: file.nullable().default(null),
    past: file.optional(),
  }),
  latticeHeads: z.int().min(0).max(LIMITS.latticeHeads),
  topK: z.int().min(0).max(LIMITS.topK),
  copyHeads: copyHeads.nullable(),
  tokenizer: file,
  eosTokens: z.array(z.int().min(0)),
});

/** Sizes of a bundle's base model and heads. */
export type BundleShape = ModelShape &
  Omit<z.infer<typeof manifestSchema>["architecture"], "ropeFrequencies" | "traits"> & {
    readonly traits: Traits;
    readonly taps: readonly number[];
  };

/** A compiled bundle whose files are what its manifest says. */
export interface EngineBundle {
  readonly name: string;
  readonly notice: string | null;
  readonly precision: Precision;
  readonly shape: BundleShape;
  readonly ropeFrequencies: readonly number[];
  readonly costs: PassCosts;
  readonly tokenizerHash: string;
  readonly tokenizerPath: string;
  readonly eosTokens: readonly number[];
  readonly basePath: string;
  /** null: the bundle has no draft heads. */
  readonly headsPath: string | null;
  /** null: the base model is no graph. */
  readonly pastPath: string | null;
  /** null: the bundle has no local rescorer. */
  readonly neuralPath: string | null;
  /** Whether its draft heads make queries (Lattice.query). */
  readonly pair: boolean;
}

/** Throws Error, saying what to do, where the bundle is absent, of another format or damaged. */
export async function readBundle(dir: string): Promise<EngineBundle> {
  // Another precision of a bundle than its own lies beside it, with the precision in its name.
  const command = basename(dir).replace(/-(fp32|fp16|int8)$/, " --precision $1");
  const remedy = `compile it with: npm run bundle -- ${command}`;
  const path = join(dir, "manifest.json");
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) throw new Error(`no bundle at ${dir}: ${remedy}`);
  const parsed = manifestSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    const fields = parsed.error.issues.map((issue) => issue.path.join(".") || "all of it");
    throw new Error(`${path} is of another format (${fields.join(", ")}): ${remedy}`);
  }
  const { name, notice, architecture, precision, taps, costs, graphs, latticeHeads, topK, tokenizer } = parsed.data;
  if (latticeHeads > 0 && graphs.heads === null) throw new Error(`${path} names no draft heads: ${remedy}`);
  await Promise.all([...graphFiles(graphs), tokenizer].map((entry) => checkFile(dir, entry, remedy)));
  const { contextTokens, ropeFrequencies, ...rest } = architecture;
  return {
    name,
    notice,
    precision,
    shape: {
      ...rest,
      traits: rest.traits ?? llamaTraits(rest),
      contextTokens: Math.min(contextTokens, LIMITS.contextTokens),
      taps,
      latticeHeads,
      topK,
      copyHeads: parsed.data.copyHeads,
    },
    ropeFrequencies,
    costs,
    tokenizerHash: tokenizer.sha256,
    tokenizerPath: join(dir, tokenizer.path),
    eosTokens: parsed.data.eosTokens,
    basePath: join(dir, graphs.base.path),
    headsPath: graphs.heads === null ? null : join(dir, graphs.heads.path),
    pastPath: graphs.past === undefined ? null : join(dir, graphs.past.path),
    neuralPath: graphs.neural === null ? null : join(dir, graphs.neural.path),
    pair: graphs.pair !== null,
  };
}
/** undefined where it is none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function checkFile(dir: string, entry: FileEntry, remedy: string): Promise<void> {
  const hash = createHash("sha256");
  try {
    for await (const bytes of createReadStream(join(dir, entry.path), { highWaterMark: 1 << 20 })) hash.update(bytes);
  } catch {
    throw new Error(`${join(dir, entry.path)} cannot be read: ${remedy}`);
  }
  if (hash.digest("hex") !== entry.sha256) {
    throw new Error(`${join(dir, entry.path)} is not the file its manifest names: ${remedy}`);
  }
}

/** @param pages of the cache, which may hold less than the model's context */
export function bundleInfo(bundle: EngineBundle, provider: string, pages: number): BundleInfo {
  const { vocabSize, latticeHeads, topK } = bundle.shape;
  const { name: model, tokenizerHash, costs, pair } = bundle;
  const contextTokens = Math.min(bundle.shape.contextTokens, pages * PAGE_TOKENS);
  const neural = bundle.neuralPath !== null;
  return { model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, costs, neural, pair };
}
