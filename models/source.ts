import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { PRECISIONS } from "../shared/manifest.ts";
import { RESCORER_TYPES } from "../shared/rescore/index.ts";

/** The repository's committed half of every bundle: models/<name>/. */
export const MODELS_DIR = import.meta.dirname;

const rescorer = z.strictObject({
  type: z.enum(RESCORER_TYPES),
  model: z.string(),
  order: z.number().int().min(2).max(5),
  alpha: z.number().min(0).max(1),
  pBest: z.number().int().min(1).max(16),
  prompt: z.boolean().optional(),
  recycled: z.boolean().optional(),
});

const ms = z.number().min(0);

const schema = z.strictObject({
  name: z.string(),
  license: z.string(),
  notice: z.string().nullable().default(null),
  /** A committed file, or a published one with where to find it. */
  gguf: z.union([
    z.strictObject({ file: z.string() }),
    z.strictObject({
      sha256: z.string().length(64),
      bytes: z.number().int(),
      urls: z.array(z.url()),
      pip: z.strictObject({ package: z.string(), version: z.string() }).optional(),
    }),
  ]),
  heads: z.string().default("heads.safetensors"),
  precision: z.enum(PRECISIONS),
  contextTokens: z.number().int(),
  topK: z.number().int().max(16),
  eosTokens: z.array(z.number().int()),
  /** Time of a pass as the sum of its parts, ms (shared/engine.ts), measured anywhere. */
  costs: z.strictObject({ pass: ms, row: ms, wanted: ms, context: ms, heads: ms }),
  defaults: z.strictObject({
    heads: z.number().int(),
    topK: z.number().int(),
    rescorer,
    neuralAlpha: z.number().min(0).max(1).default(0.5),
  }),
});

export type CommittedSource = z.infer<typeof schema>;

/** A GGUF file of the user's, without a committed half (given.ts). */
export interface GivenFile {
  readonly path: string;
  /** Tells this content of the path from any other. */
  readonly identity: string;
}

export type BundleSource = Omit<CommittedSource, "gguf" | "heads"> & {
  readonly gguf: CommittedSource["gguf"] | GivenFile;
  /** null: it has no draft heads. */
  readonly heads: string | null;
};

/** Where the committed half of a bundle lies; null for a file of the user's. */
export function folderOf({ name, gguf }: BundleSource): string | null {
  return "path" in gguf ? null : join(MODELS_DIR, name);
}

/** Reads models/<name>/source.json. Throws where there is none or it is malformed. */
export async function readSource(name: string): Promise<CommittedSource> {
  if (!/^[a-z0-9][a-z0-9.-]*$/.test(name)) throw new Error(`"${name}" is not a bundle name`);
  const path = join(MODELS_DIR, name, "source.json");
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) throw new Error(`no bundle called "${name}": models/${name}/source.json is missing`);
  const parsed = schema.safeParse(JSON.parse(text));
  if (!parsed.success) throw new Error(`models/${name}/source.json: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
