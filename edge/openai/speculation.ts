import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import { LIMITS } from "../../shared/limits.ts";
import { invalid, type SpeculationParams } from "./params.ts";

/** How one request drafts, with the bundle's defaults filled in. */
export interface DraftPlan {
  /** Lattice rows; 0: plain autoregressive decoding. */
  readonly heads: number;
  readonly topK: number;
  /** Upper bound of drafted nodes per step. */
  readonly maxNodes: number;
  /** true: the number of nodes is chosen each step (decode/budget.ts); false: always `maxNodes`. */
  readonly autoNodes: boolean;
  readonly pBest: number;
  readonly ngram: { readonly pack: PackEntry; readonly order: number; readonly alpha: number } | null;
}

/**
 * Checks `speculation` against the bundle and fills in its defaults. Throws StepError (400) naming the
 * field that asks for more than the bundle has.
 */
export function planDraft(params: SpeculationParams, manifest: BundleManifest): DraftPlan {
  const { defaults } = manifest;
  atMost("speculation.heads", params.heads, manifest.latticeHeads);
  atMost("speculation.top_k", params.topK, manifest.topK);
  const type = params.rescorer.type ?? (manifest.packs.length > 0 ? defaults.rescorer.type : "none");
  // A misspelt pack is an error even where this request would not use it.
  const pack = findPack(params.rescorer.model, manifest);
  atMost("speculation.rescorer.order", params.rescorer.order, pack?.order ?? LIMITS.ngramOrder);
  if (type === "ngram" && pack === null) throw invalid("speculation.rescorer.type", `model ${manifest.name} has no n-gram pack`);

  const heads = Math.min(params.heads ?? defaults.heads, manifest.latticeHeads);
  // Without a rescorer the draft is the top path alone.
  const pBest = type === "none" ? 1 : (params.rescorer.pBest ?? defaults.rescorer.pBest);
  const ngram =
    type === "ngram" && pack !== null
      ? {
          pack,
          order: params.rescorer.order ?? Math.min(defaults.rescorer.order, pack.order),
          alpha: params.rescorer.alpha ?? defaults.rescorer.alpha,
        }
      : null;
  return {
    heads: params.enabled ? heads : 0,
    topK: Math.min(params.topK ?? defaults.topK, manifest.topK),
    maxNodes: params.enabled ? (params.maxNodes ?? Math.min(heads * pBest, LIMITS.draftNodes)) : 0,
    autoNodes: params.enabled && params.maxNodes === null && params.heads === null,
    pBest,
    ngram,
  };
}

function findPack(name: string | null, manifest: BundleManifest): PackEntry | null {
  const wanted = name ?? manifest.defaults.rescorer.model;
  const pack = manifest.packs.find((p) => p.name === wanted) ?? null;
  if (pack === null && name !== null) {
    const names = manifest.packs.map((p) => p.name).join(", ") || "none";
    throw invalid("speculation.rescorer.model", `no pack of that name; model ${manifest.name} has: ${names}`);
  }
  return pack ?? manifest.packs[0] ?? null;
}

function atMost(param: string, value: number | null, bound: number): void {
  if (value !== null && value > bound) throw invalid(param, `at most ${bound} here`);
}
