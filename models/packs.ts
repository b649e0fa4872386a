import { copyFile, mkdir, readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { PackEntry } from "../shared/manifest.ts";
import { readPackHeader } from "../shared/ngram/format.ts";
import { sha256OfFile } from "./cache.ts";
import { MODELS_DIR } from "./source.ts";

/** Files of a bundle's folder beside its packs' names, relative to it. */
export async function packFiles(dir: string, endings: readonly string[]): Promise<string[]> {
  const names = await readdir(join(dir, "packs")).catch(() => []);
  return names
    .filter((n) => endings.some((ending) => n.endsWith(ending)))
    .sort()
    .map((n) => join("packs", n));
}

/**
 * Copies a bundle's packs into `dir`. A model without a folder gets every committed pack that was made with just its
 * tokenizer. Throws where a folder's own pack was made with another one.
 */
export async function copyPacks(folder: string | null, dir: string, tokenizerHash: string): Promise<PackEntry[]> {
  await mkdir(join(dir, "packs"));
  const packs: PackEntry[] = [];
  for (const from of folder === null ? await allPacks() : await packsIn(folder)) {
    const header = readPackHeader(await readFile(from));
    if (header.tokenizerHash !== tokenizerHash) {
      if (folder === null) continue;
      throw new Error(`${from} was made for another tokenizer`);
    }
    const path = join("packs", basename(from));
    await copyFile(from, join(dir, path));
    packs.push({
      path,
      bytes: (await stat(from)).size,
      sha256: await sha256OfFile(from),
      name: basename(from, ".fdlm"),
      order: header.order,
      ngrams: header.ngrams,
      ...(await trainingNotes(from)),
    });
  }
  return packs;
}

async function packsIn(folder: string): Promise<string[]> {
  return (await packFiles(folder, [".fdlm"])).map((path) => join(folder, path));
}

/** Of all committed bundles; of several with one name the first. */
async function allPacks(): Promise<string[]> {
  const entries = await readdir(MODELS_DIR, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(MODELS_DIR, name));
  return (await Promise.all(folders.sort().map(packsIn))).flat();
}

/** What `npm run ngram -- train` wrote beside a pack, if it held text out. */
async function trainingNotes(pack: string): Promise<{ devPerplexity?: number }> {
  const text = await readFile(pack.replace(/\.fdlm$/, ".json"), "utf8").catch(() => null);
  if (text === null) return {};
  const { devPerplexity }: { devPerplexity?: unknown } = JSON.parse(text);
  if (typeof devPerplexity !== "number") throw new Error(`${pack}: no devPerplexity in the .json beside it`);
  return { devPerplexity };
}
