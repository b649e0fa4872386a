import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import type { Calibration } from "../../shared/rescore/calibration.ts";

/** How a method drafts; everything else about decoding is the same for all. */
export type DraftSpec =
  | { readonly type: "plain" }
  | { readonly type: "none" }
  | {
      readonly type: "ngram";
      readonly order: number;
      readonly alpha: number;
      readonly pBest: number;
      readonly prompt: boolean;
      readonly pack: PackEntry | null;
    }
  | {
      readonly type: "tree";
      readonly order: number;
      readonly alpha: number;
      readonly prompt: boolean;
      readonly pack: PackEntry | null;
      readonly calibration: Calibration;
    }
  /** The engine itself re-ranks the lattice; the draft is its best path. */
  | { readonly type: "neural"; readonly alpha: number }
  | { readonly type: "oracle"; readonly topK: number }
  | { readonly type: "prompt-lookup" };

export interface Method {
  readonly name: string;
  readonly draft: DraftSpec;
  /** Lattice rows and columns asked of the engine; 0 rows never run the heads. */
  readonly heads: number;
  readonly topK: number;
  /** Drafted nodes per step at most. */
  readonly maxNodes: number;
}

export const DEFAULT_METHODS = [
  "ar",
  "none",
  "ngram-2",
  "ngram-3",
  "ngram-4",
  "0gram-16best",
  "ngram-4-16best",
] as const;

export interface MethodOptions {
  /** null: the bundle's. */
  readonly alpha: number | null;
  readonly pack: string | null;
  readonly heads: number | null;
  readonly topK: number | null;
  /** null or left out: as many as may be. */
  readonly maxNodes?: number | null;
  /** In place of the bundle's. */
  readonly calibration?: Calibration | null;
}

/**
 * `ar`, `none`, `ngram-<order>`, `ngram-<order>-<p>best`, both also with `-prompt`, `0gram-<p>best`, `tree`,
 * `tree-<nodes>`, both also with `-heads` (neither n-gram model nor prompt), `neural`, `oracle-<k>`, `prompt-lookup`; an
 * n-gram method may end in `@<pack>`. Throws an Error naming what is wrong.
 */
export function parseMethod(name: string, manifest: BundleManifest, options: MethodOptions): Method {
  const { draft, nodes = LIMITS.draftNodes, ...size } = parseDraft(name, manifest, options);
  return { name, draft, ...size, maxNodes: Math.min(nodes, options.maxNodes ?? LIMITS.draftNodes) };
}

type Parsed = Pick<Method, "draft" | "heads" | "topK"> & { readonly nodes?: number };

function parseDraft(name: string, manifest: BundleManifest, options: MethodOptions): Parsed {
  const heads = Math.min(options.heads ?? manifest.latticeHeads, manifest.latticeHeads);
  const topK = Math.min(options.topK ?? manifest.topK, manifest.topK);
  if (name === "ar") return { nodes: 0, draft: { type: "plain" }, heads: 0, topK: 1 };
  if (name === "prompt-lookup") return { draft: { type: "prompt-lookup" }, heads: 0, topK: 1 };
  if (name === "none") return { draft: { type: "none" }, heads, topK };
  if (name === "neural") {
    if (manifest.graphs.neural === null) throw new Error(`bundle ${manifest.name} has no local rescorer`);
    return { draft: { type: "neural", alpha: options.alpha ?? manifest.defaults.neuralAlpha }, heads, topK };
  }

  const ngram = /^ngram-(\d+)(?:-(\d+)best)?(-prompt)?(?:@(.+))?$/.exec(name);
  if (ngram !== null) {
    const order = inRange(name, "order", Number(ngram[1]), 2, LIMITS.ngramOrder);
    const pBest = inRange(name, "p", Number(ngram[2] ?? 1), 1, LIMITS.pBest);
    const alpha = options.alpha ?? manifest.defaults.rescorer.alpha;
    const prompt = ngram[3] !== undefined;
    const named = ngram[4] ?? options.pack;
    // A bundle without packs still has its prompts' own n-grams, which weigh nothing else.
    const none = alpha === 0 && named === null && manifest.packs.length === 0;
    const pack = none ? null : findPack(name, order, manifest, named);
    return { draft: { type: "ngram", order, alpha, pBest, prompt, pack }, heads, topK };
  }
  const lattice = /^0gram-(\d+)best$/.exec(name);
  if (lattice !== null) {
    const pBest = inRange(name, "p", Number(lattice[1]), 1, LIMITS.pBest);
    return { draft: { type: "ngram", order: 2, alpha: 0, pBest, prompt: false, pack: null }, heads, topK };
  }
  const tree = /^tree(?:-(\d+))?(-heads)?$/.exec(name);
  if (tree !== null) {
    const nodes = inRange(name, "nodes", Number(tree[1] ?? LIMITS.draftNodes), 1, LIMITS.draftNodes);
    return { draft: treeDraft(name, manifest, options, tree[2] === undefined), heads, topK, nodes };
  }
  const oracle = /^oracle-(\d+)$/.exec(name);
  if (oracle !== null) {
    const columns = inRange(name, "k", Number(oracle[1]), 1, LIMITS.topK);
    return { draft: { type: "oracle", topK: Math.min(columns, topK) }, heads, topK };
  }
  throw new Error(`unknown method "${name}"`);
}

/** `full`: with n-gram model, where the bundle has one, and prompt. */
function treeDraft(name: string, manifest: BundleManifest, options: MethodOptions, full: boolean): DraftSpec {
  const calibration = options.calibration ?? manifest.calibration;
  if (calibration == null) throw new Error(`method "${name}": bundle ${manifest.name} has no calibration`);
  const { rescorer } = manifest.defaults;
  const usesPack = full && manifest.packs.length > 0;
  const pack = usesPack ? findPack(name, rescorer.order, manifest, options.pack) : null;
  const alpha = usesPack ? (options.alpha ?? rescorer.alpha) : 0;
  return { type: "tree", order: rescorer.order, alpha, prompt: full, pack, calibration };
}

function inRange(name: string, field: string, value: number, low: number, high: number): number {
  if (value < low || value > high) throw new Error(`method "${name}": ${field} must be ${low}..${high}`);
  return value;
}

/**
 * The pack asked for by name; otherwise one of just this order, the bundle's default first, otherwise
 * the lowest order above it: an order-2 model cut out of an order-4 pack is a little worse than its own.
 */
function findPack(method: string, order: number, manifest: BundleManifest, wanted: string | null): PackEntry {
  if (wanted !== null) {
    const named = manifest.packs.find((pack) => pack.name === wanted);
    if (named !== undefined) return named;
    throw new Error(`bundle ${manifest.name} has no pack "${wanted}"; it has: ${packNames(manifest)}`);
  }
  const preferred = manifest.defaults.rescorer.model;
  const able = manifest.packs
    .filter((pack) => pack.order >= order)
    .toSorted((a, b) => a.order - b.order || Number(b.name === preferred) - Number(a.name === preferred));
  const best = able[0];
  if (best === undefined) throw new Error(`method "${method}": bundle ${manifest.name} has: ${packNames(manifest)}`);
  return best;
}

function packNames(manifest: BundleManifest): string {
  return manifest.packs.map((pack) => `${pack.name} (order ${pack.order})`).join(", ") || "no pack";
}
