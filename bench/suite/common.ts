import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { BundleManifest } from "../../shared/manifest.ts";
import { rescorerModule } from "../../shared/rescore/index.ts";
import { isPairVariant, isStaticTree, type Method, parseMethod, rescorerOf } from "../eval/methods.ts";
import { readStored, type Stored, type StoredBundle, type StoredTune, tunedAlpha, writeStored } from "./stored.ts";

/** null, with a word about it, where there is none or it is of another bundle: alphas are then the bundle's own. */
export async function readTune(path: string, manifest: BundleManifest): Promise<StoredTune | null> {
  const tune = await readStored(path, "tune");
  const { name, graphs } = manifest;
  if (tune !== null && tune.bundle.name === name && tune.bundle.heads_sha256 === graphs.heads?.sha256) return tune;
  console.error(`${path}: ${tune === null ? "missing" : "made with other heads"}; every alpha is the bundle's default`);
  return null;
}

/** Without those the bundle lacks the parts for, and without static trees where nothing was tuned. */
export function availableMethods(
  names: readonly string[],
  manifest: BundleManifest,
  tune: StoredTune | null,
): string[] {
  return names.filter((name) => {
    if (isStaticTree(name)) return tune !== null && (manifest.graphs.neural !== null || !name.endsWith("-neural"));
    if (isPairVariant(name) && manifest.graphs.pair == null) return false;
    const type = rescorerOf(name);
    return type === null || rescorerModule(type).needs(manifest) === null;
  });
}

/** The alpha of `ngram-4@pack` is that of `ngram-4`. */
export function suiteMethod(name: string, category: string, manifest: BundleManifest, tune: StoredTune | null): Method {
  const alpha = tunedAlpha(tune, name.split("@")[0]!, category);
  return parseMethod(name, manifest, {
    alpha,
    pack: null,
    heads: null,
    topK: null,
    rankShares: tune?.rank_shares ?? null,
  });
}

export function storedBundle(manifest: BundleManifest): StoredBundle {
  return {
    name: manifest.name,
    heads_sha256: manifest.graphs.heads?.sha256 ?? "none",
    lattice_heads: manifest.latticeHeads,
    top_k: manifest.topK,
    packs: manifest.packs.map(({ name, order, bytes }) => ({ name, order, bytes })),
  };
}

export async function save(path: string, stored: Stored): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeStored(path, stored);
  console.error(`written: ${path}`);
}
