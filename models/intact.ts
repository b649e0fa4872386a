import { readFile, rename, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { type BundleManifest, type FileEntry, graphFiles, MANIFEST_FORMAT } from "../shared/manifest.ts";
import { sha256, sha256OfFile } from "./cache.ts";

/**
 * Whether a compiled bundle is still what was compiled. Beside its files lies a stamp: the hash of its inputs and,
 * on a second line, that of its manifest, which holds those of all others. It is written last, so a file changed
 * after it is one to look at.
 */
const STAMP = "inputs.sha256";

const file = z.object({ path: z.string().min(1), bytes: z.int().min(1), sha256: z.string().regex(/^[0-9a-f]{64}$/) });
const graph = file.extend({ data: file.optional() });
/** As much of it as leads to the files. */
const schema = z.object({
  format: z.literal(MANIFEST_FORMAT),
  graphs: z.object({
    base: graph,
    heads: graph.nullable(),
    neural: file.nullable(),
    pair: file.nullable().default(null),
    past: file.optional(),
  }),
  tokenizer: file,
  packs: z.array(file),
});

export interface State {
  /** null where it is to be made: it is damaged, made of other inputs or not there. */
  readonly manifest: BundleManifest | null;
  /** What is missing or not as compiled, a line per file. */
  readonly damage: readonly string[];
}

/**
 * @param every true: all files are hashed. false: the graphs only where they have changed since they last were, as
 * the gpu-worker hashes them at each of its starts.
 */
export async function examine(dir: string, inputs: string, every: boolean): Promise<State> {
  const stamp = await readFile(join(dir, STAMP), "utf8").catch(() => "");
  const [inputsHash, manifestHash = null] = stamp.split("\n");
  if (inputsHash !== inputs) return { manifest: null, damage: [] };
  const manifest = await readManifest(join(dir, "manifest.json"), manifestHash);
  if (typeof manifest === "string") return { manifest: null, damage: [`manifest.json ${manifest}`] };
  const checkedAt = every ? 0 : await changedAt(join(dir, STAMP));
  const graphs = graphFiles(manifest.graphs);
  const results = await Promise.all([
    ...graphs.map((entry) => faultOf(dir, entry, checkedAt)),
    ...[manifest.tokenizer, ...manifest.packs].map((entry) => faultOf(dir, entry, 0)),
  ]);
  const damage = results.filter((fault) => fault !== null);
  return { manifest: damage.length === 0 ? manifest : null, damage };
}

/** Writes the manifest of files that are there already, and the stamp. */
export async function seal(dir: string, manifest: BundleManifest, inputs: string): Promise<void> {
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  await replace(join(dir, "manifest.json"), text);
  await replace(join(dir, STAMP), `${inputs}\n${sha256(text)}`);
}

/** The files were whole at `time`. Where a cache cannot be written to, those changed are hashed again next time. */
export async function confirm(dir: string, time: Date): Promise<void> {
  await utimes(join(dir, STAMP), time, time).catch(() => undefined);
}

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.part`, text);
  await rename(`${path}.part`, path);
}

/** Or what is wrong with it. */
async function readManifest(path: string, hash: string | null): Promise<BundleManifest | string> {
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) return "cannot be read";
  if (hash !== null && sha256(text) !== hash) return "has another SHA-256 than when it was made";
  const manifest = parseJson(text);
  return schema.safeParse(manifest).success ? (manifest as BundleManifest) : "is malformed";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param checkedAt the file is known to have been whole then; ms since 1970 */
async function faultOf(dir: string, { path, bytes, sha256 }: FileEntry, checkedAt: number): Promise<string | null> {
  const found = await stat(join(dir, path)).catch(() => null);
  if (found === null) return `${path} is missing`;
  if (found.size !== bytes) return `${path} has ${found.size} bytes in place of ${bytes}`;
  // The time of the last change of any kind: unlike that of the contents, no program sets it.
  if (found.ctimeMs <= checkedAt) return null;
  const hash = await sha256OfFile(join(dir, path)).catch(() => null);
  return hash === sha256 ? null : `${path} ${hash === null ? "cannot be read" : "has another SHA-256"}`;
}

async function changedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
