import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
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
  pair: z.boolean().optional(),
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
  /** null: there are none. */
  heads: z.string().nullable().default("heads.safetensors"),
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

/** What a folder's source.json says. */
export type FolderSource = z.infer<typeof schema>;

/** A GGUF file of the user's, without a committed half (given.ts). */
export interface GivenFile {
  readonly path: string;
  /** Tells this content of the path from any other. */
  readonly identity: string;
}

export type BundleSource = Omit<FolderSource, "gguf"> & {
  readonly gguf: FolderSource["gguf"] | GivenFile;
  /** Where heads, if they are not named by their whole path, packs and calibration lie: in models/, or in a package; null for a mere GGUF file. */
  readonly folder: string | null;
};

/** The file of the draft heads; null: there are none. */
export function headsPathOf({ heads, folder }: BundleSource): string | null {
  return heads === null ? null : resolve(folder ?? "", heads);
}

/** Reads models/<name>/source.json. Throws where there is none or it is malformed. */
export async function readSource(name: string): Promise<FolderSource & { readonly folder: string }> {
  if (!/^[a-z0-9][a-z0-9.-]*$/.test(name)) throw new Error(`"${name}" is not a bundle name`);
  const folder = join(MODELS_DIR, name);
  const text = await readFile(join(folder, "source.json"), "utf8").catch(() => null);
  if (text === null) throw new Error(`no bundle called "${name}": models/${name}/source.json is missing`);
  return { ...parseSource(text, `models/${name}/source.json`), folder };
}

/** Throws Error naming `where` and what is malformed. */
export function parseSource(text: string, where: string): FolderSource {
  const parsed = schema.safeParse(parseJson(text, where));
  if (!parsed.success) throw new Error(`${where}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${where} is not JSON`);
  }
}
