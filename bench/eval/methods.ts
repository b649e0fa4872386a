import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import type { Calibration } from "../../shared/rescore/calibration.ts";
import {
  RESCORER_TYPES,
  type RescorerSpec,
  type RescorerType,
  rescorerModule,
  rescorerSpec,
} from "../../shared/rescore/index.ts";
import type { RescorerModule } from "../../shared/rescore/module.ts";
import type { ParamName } from "../../shared/rescore/params.ts";

/** How a method drafts; everything else about decoding is the same for all. */
export type DraftSpec =
  | { readonly type: "plain" }
  /** `calibration` in place of the bundle's. */
  | (RescorerSpec & { readonly pack: PackEntry | null; readonly calibration: Calibration | null })
  | { readonly type: "oracle"; readonly topK: number }
  | { readonly type: "prompt-lookup" };

/** Whether a rescorer of the product drafts. */
export function isRefined(draft: DraftSpec): draft is Extract<DraftSpec, RescorerSpec> {
  return "calibration" in draft;
}

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
 * `ar`, `oracle-<k>`, `prompt-lookup`, `0gram-<p>best`, or a rescorer's type with what it is to do: a number, the order of
 * those that have a pack to choose or else the nodes of those that choose their drafts' size; `<p>best`; `prompt`;
 * `heads`, for neither n-gram model nor prompt; and at the end `@<pack>`. Throws an Error naming what is wrong.
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
  const lattice = /^0gram-(\d+)best$/.exec(name);
  if (lattice !== null) {
    const pBest = inRange(name, "p", Number(lattice[1]), 1, LIMITS.pBest);
    const draft = { type: "ngram", order: 2, alpha: 0, pBest, prompt: false, pack: null, calibration: null } as const;
    return { draft, heads, topK };
  }
  const oracle = /^oracle-(\d+)$/.exec(name);
  if (oracle !== null) {
    const columns = inRange(name, "k", Number(oracle[1]), 1, LIMITS.topK);
    return { draft: { type: "oracle", topK: Math.min(columns, topK) }, heads, topK };
  }
  return { ...refined(name, manifest, options), heads, topK };
}

/** The rescorer that a method's name begins with, if it is one's. */
export function rescorerOf(name: string): RescorerType | null {
  return RESCORER_TYPES.find((type) => type === name.split(/[-@]/)[0]) ?? null;
}

function refined(name: string, manifest: BundleManifest, options: MethodOptions): Pick<Parsed, "draft" | "nodes"> {
  const type = rescorerOf(name);
  if (type === null) throw new Error(`unknown method "${name}"`);
  const module = rescorerModule(type);
  const calibration = options.calibration ?? manifest.calibration ?? null;
  const missing = module.needs({ ...manifest, calibration });
  if (missing !== null) throw new Error(`method "${name}": bundle ${manifest.name} has no ${missing}`);
  const [settings, packName] = name.slice(type.length).split(/@(.*)/);
  const { number, headsOnly, ...named } = namedSettings(name, settings!, module);
  const usual = module.defaults(manifest);
  const order = module.calibrated ? (usual.order ?? 2) : (number ?? usual.order ?? 2);
  const wanted = options.alpha ?? usual.alpha ?? 0;
  // A bundle without packs still has its prompts' own n-grams, which weigh nothing else.
  const unweighted = wanted === 0 && packName === undefined;
  const without = module.calibrated
    ? unweighted || manifest.packs.length === 0
    : unweighted && manifest.packs.length === 0;
  const pack =
    module.usesPack && !headsOnly && !without ? findPack(name, order, manifest, packName ?? options.pack) : null;
  const alpha = module.usesPack && pack === null ? 0 : wanted;
  const spec = rescorerSpec(type, { ...usual, order, alpha, ...named });
  return {
    draft: { ...spec, pack, calibration: module.calibrated ? calibration : null },
    ...(module.calibrated && number !== null ? { nodes: number } : {}),
  };
}

/** What follows the type in a method's name; switches are on in a rescorer that is calibrated for them, else off. */
function namedSettings(name: string, settings: string, { paramsSchema, calibrated, usesPack }: RescorerModule) {
  const has = (param: ParamName) => param in paramsSchema.shape;
  let number: number | null = null;
  let pBest = 1;
  const words = new Set<string>();
  for (const word of settings.split("-").slice(1)) {
    const digits = /^(\d+)(best)?$/.exec(word);
    const value = Number(digits?.[1]);
    if (digits?.[2] !== undefined && has("pBest")) pBest = inRange(name, "p", value, 1, LIMITS.pBest);
    else if (digits !== null && calibrated) number = inRange(name, "nodes", value, 1, LIMITS.draftNodes);
    else if (digits !== null && has("order")) number = inRange(name, "order", value, 2, LIMITS.ngramOrder);
    else if (word === (calibrated ? "heads" : "prompt") && has("prompt")) words.add(word);
    else if (word === "recycled" && has("recycled")) words.add(word);
    else throw new Error(`unknown method "${name}"`);
  }
  if (!calibrated && usesPack && number === null) throw new Error(`method "${name}": its order is missing`);
  const headsOnly = words.has("heads");
  return {
    number,
    headsOnly,
    pBest,
    prompt: calibrated ? !headsOnly : words.has("prompt"),
    recycled: words.has("recycled"),
  };
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
