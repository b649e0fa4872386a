import { createHash } from "node:crypto";
import { cp, link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { cacheDir, sha256OfFile } from "../models/cache.ts";
import type { Progress } from "../models/pull.ts";
import { LIMITS } from "../shared/limits.ts";
import type { BundleManifest, PackEntry } from "../shared/manifest.ts";
import { loadPack, readPackHeader } from "../shared/ngram/format.ts";
import { MAX_TRAINED_ORDER } from "../train/ngram/counts.ts";
import { writePack } from "../train/ngram/pack.ts";
import { type Perplexity, perplexityOf } from "../train/ngram/perplexity.ts";
import { loadTokenizer, tokenFileOf } from "../train/ngram/text-source.ts";
import { readTokenFile, separatorOf, type Tokens } from "../train/ngram/token-file.ts";
import { trainTable } from "../train/ngram/train.ts";

/** The end of a text that its pack is not trained on but measured with. */
const HELD_OUT = 0.1;
/** Fewer tokens make no model worth the name. */
const FEWEST_TOKENS = 1000;

export interface PackedBundle {
  /** The bundle with the pack, under the name of the model. */
  readonly dir: string;
  readonly pack: PackEntry;
  /** The bundle's own choice; null: it had no pack. */
  readonly other: string | null;
  /** Tokens of the text's end, which the pack has not seen. */
  readonly heldOut: Tokens;
  /** Of the pack on `heldOut`. */
  readonly perplexity: Perplexity;
}

/**
 * The compiled bundle at `bundleDir` with one more pack, trained on the text `file` with the bundle's tokenizer, which
 * drafts use unless they are told otherwise. Nothing is compiled: beside manifest and pack its files are links. It is kept,
 * and made once for the same text and bundle. Throws Error where the bundle has no draft heads or the text is too short.
 */
export async function bundleWithPack(bundleDir: string, file: string, onProgress: Progress): Promise<PackedBundle> {
  const manifest = JSON.parse(await readFile(join(bundleDir, "manifest.json"), "utf8")) as BundleManifest;
  if (manifest.latticeHeads === 0) {
    throw new Error(`--pack: ${manifest.name} has no draft heads, and a pack only weighs what these propose`);
  }
  const path = resolve(file);
  const about = await stat(path).catch(() => null);
  if (about === null || !about.isFile()) throw new Error(`--pack: ${file}: no such file`);
  const tokenizer = await loadTokenizer(join(bundleDir, manifest.tokenizer.path));
  const words = await tokenFileOf(path, tokenizer, join(cacheDir(), "ngram"), (done) => {
    onProgress("tokenising", done, 1);
  });
  const tokens = readTokenFile(words);
  const cut = Math.floor(tokens.length * (1 - HELD_OUT));
  const heldOut = tokens.subarray(cut);
  if (tokens.length < FEWEST_TOKENS) {
    throw new Error(`--pack: ${file} has ${tokens.length} tokens, and at least ${FEWEST_TOKENS} are needed`);
  }
  const seen = [{ tokens: tokens.subarray(0, cut), weight: 1, split: null }];
  const key = createHash("sha256").update(JSON.stringify(manifest)).update(seen[0]!.tokens).digest("hex").slice(0, 16);
  const name = packName(file, manifest);
  const dir = join(cacheDir(), "own-packs", `${key}-${name}`, basename(bundleDir));
  const packPath = join("packs", `${name}.fdlm`);
  if ((await stat(join(dir, "manifest.json")).catch(() => null)) === null) {
    const thresholds = new Array<number>(MAX_TRAINED_ORDER).fill(0);
    const table = trainTable(seen, {
      order: MAX_TRAINED_ORDER,
      vocabSize: tokenizer.vocabSize,
      thresholds,
      maxBytes: LIMITS.packBytes,
      onProgress: (step, done) => onProgress(step, done, 1),
    });
    await make(dir, bundleDir, manifest, { path: packPath, bytes: writePack(table, tokenizer.hash) });
  }
  const made = JSON.parse(await readFile(join(dir, "manifest.json"), "utf8")) as BundleManifest;
  const model = loadPack(await readFile(join(dir, packPath)));
  return {
    dir,
    pack: made.packs.find((one) => one.name === name)!,
    other: manifest.packs.length === 0 ? null : manifest.defaults.rescorer.model,
    heldOut,
    perplexity: perplexityOf(model, [{ tokens: heldOut, weight: 1, split: null }]),
  };
}

/** The file's name, as far as a pack may be called so and no other one is. */
function packName(file: string, { packs }: BundleManifest): string {
  const plain = basename(file)
    .replace(/\.xz$/, "")
    .replace(/\.[^.]+$/, "");
  const name = plain.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "") || "own";
  return packs.some((pack) => pack.name === name) ? `${name}-own` : name;
}

/** Whole or not there at all. */
async function make(
  dir: string,
  from: string,
  manifest: BundleManifest,
  { path, bytes }: { readonly path: string; readonly bytes: Uint8Array },
): Promise<void> {
  const parent = `${dirname(dir)}.${process.pid}.part`;
  const work = join(parent, basename(dir));
  try {
    await mkdir(join(work, "packs"), { recursive: true });
    for (const one of await readdir(from, { recursive: true, withFileTypes: true })) {
      if (!one.isFile() || one.name === "manifest.json") continue;
      const source = join(one.parentPath, one.name);
      const target = join(work, source.slice(from.length));
      await mkdir(dirname(target), { recursive: true });
      await link(source, target).catch(() => cp(source, target));
    }
    await writeFile(join(work, path), bytes);
    const { order, ngrams } = readPackHeader(bytes);
    const hash = await sha256OfFile(join(work, path));
    const name = basename(path, ".fdlm");
    const pack: PackEntry = { path, bytes: bytes.length, sha256: hash, name, order, ngrams };
    const rescorer = { ...manifest.defaults.rescorer, model: name, order };
    const packed = { ...manifest, packs: [...manifest.packs, pack], defaults: { ...manifest.defaults, rescorer } };
    await writeFile(join(work, "manifest.json"), `${JSON.stringify(packed, null, 2)}\n`);
    // Another start may have made it meanwhile; both made the same.
    await rename(parent, dirname(dir)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

/** Prompts from all over a text: [count] token ids, none across the end of a document. */
export function promptsOf(tokens: Tokens, count: number, length: number): number[][] {
  const prompts: number[][] = [];
  for (let i = 0; i < count; i++) {
    const at = Math.floor((i * tokens.length) / count);
    const rest = tokens.subarray(at, at + length);
    const end = rest.indexOf(separatorOf(tokens));
    const prompt = [...(end < 0 ? rest : rest.subarray(0, end))];
    if (prompt.length >= Math.min(8, length)) prompts.push(prompt);
  }
  return prompts;
}
