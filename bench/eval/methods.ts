import { planDraft } from "../../edge/completion/draft-plan.ts";
import { type SpeculationParams, speculationOf } from "../../edge/openai/params.ts";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import type { Calibration } from "../../shared/rescore/calibration.ts";
import {
  engineWork,
  RESCORER_TYPES,
  type RescorerSpec,
  type RescorerType,
  rescorerModule,
} from "../../shared/rescore/index.ts";
import type { RescorerModule } from "../../shared/rescore/module.ts";
import type { ParamName, Params } from "../../shared/rescore/params.ts";
import { type RankShares, type StaticSource, type StaticTree, staticTree } from "./static-tree.ts";

/** How a method drafts; everything else about decoding is the same for all. */
export type DraftSpec =
  | { readonly type: "plain" }
  /** `calibration` in place of the bundle's. */
  | (RescorerSpec & { readonly pack: PackEntry | null; readonly calibration: Calibration | null })
  | { readonly type: "oracle"; readonly topK: number }
  | { readonly type: "prompt-lookup" }
  /** `neural`: weight of the local rescorer, which orders the candidates first; null: it does not. */
  | {
      readonly type: "static-tree";
      readonly source: StaticSource;
      readonly tree: StaticTree;
      readonly neural: number | null;
    };

/** Whether a rescorer of the product drafts. */
export function isRefined(draft: DraftSpec): draft is Extract<DraftSpec, RescorerSpec> {
  return "calibration" in draft;
}

/** Whether the local rescorer takes part. */
export function usesNeural(draft: DraftSpec): boolean {
  return draft.type === "neural" || (draft.type === "static-tree" && draft.neural !== null);
}

/** Whether the scores of pairs do. */
export function usesPair(draft: DraftSpec): boolean {
  return isRefined(draft) && engineWork(draft).pair;
}

/** Whether a method of that name is a rescorer with or without them, where both are usual. */
export function isPairVariant(name: string): boolean {
  return name.split("@")[0]!.endsWith("-pair");
}

/** Whether a method of that name drafts by a static tree, for which MethodOptions.rankShares are needed. */
export function isStaticTree(name: string): boolean {
  return STATIC_TREE.test(name);
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
  /** What static trees are shaped by. */
  readonly rankShares?: RankShares | null;
}

const STATIC_TREE = /^(medusa|recycling)-(\d+)(-neural)?$/;

/**
 * `ar`, `oracle-<k>`, `prompt-lookup`, `0gram-<p>best`, `medusa-<nodes>` (also `-neural`) and `recycling-<nodes>`, static trees, or a rescorer's type with what it is to do: a number, the order of
 * those that have a pack to choose or else the nodes of those that choose their drafts' size; `<p>best`; `prompt`;
 * `lm`, for no prompt where it is usual; `heads`, for heads alone; `pair` and `no-pair`, for the scores of pairs whatever is usual;
 * and at the end `@<pack>`. Throws an Error naming what is wrong.
 */
export function parseMethod(name: string, manifest: BundleManifest, options: MethodOptions): Method {
  return { name, ...parseDraft(name, manifest, options) };
}

type Parsed = Omit<Method, "name">;

function parseDraft(name: string, manifest: BundleManifest, options: MethodOptions): Parsed {
  const heads = Math.min(options.heads ?? manifest.latticeHeads, manifest.latticeHeads);
  const topK = Math.min(options.topK ?? manifest.topK, manifest.topK);
  const maxNodes = options.maxNodes ?? LIMITS.draftNodes;
  if (name === "ar") return { draft: { type: "plain" }, heads: 0, topK: 1, maxNodes: 0 };
  if (name === "prompt-lookup") return { draft: { type: "prompt-lookup" }, heads: 0, topK: 1, maxNodes };
  const oracle = /^oracle-(\d+)$/.exec(name);
  if (oracle !== null) {
    const columns = inRange(name, "k", Number(oracle[1]), 1, LIMITS.topK);
    return { draft: { type: "oracle", topK: Math.min(columns, topK) }, heads, topK, maxNodes };
  }
  if (isStaticTree(name)) return { ...parseStaticTree(name, manifest, options), topK };
  const { rescorer, nodes } = askedOf(name, options);
  return planned(name, manifest, options, {
    ...SERVED,
    heads,
    topK,
    maxNodes: Math.min(nodes ?? maxNodes, maxNodes),
    rescorer,
  });
}

function parseStaticTree(name: string, manifest: BundleManifest, options: MethodOptions): Omit<Parsed, "topK"> {
  const [, kind, nodes, local] = STATIC_TREE.exec(name)!;
  const { rankShares = null } = options;
  if (rankShares === null) throw new Error(`method "${name}": nothing is known of the ranks: npm run tune counts them`);
  const source = kind === "medusa" ? "heads" : "recycled";
  if (local !== undefined && (source !== "heads" || manifest.graphs.neural === null))
    throw new Error(`method "${name}": there is no local rescorer for it`);
  const maxNodes = Math.min(inRange(name, "nodes", Number(nodes), 1, LIMITS.draftNodes), options.maxNodes ?? Infinity);
  const neural = local === undefined ? null : (options.alpha ?? manifest.defaults.neuralAlpha);
  const draft = { type: "static-tree", source, tree: staticTree(source, rankShares, maxNodes), neural } as const;
  return { draft, heads: source === "heads" ? manifest.latticeHeads : 0, maxNodes };
}

/** What a request without wishes asks for. */
const SERVED: SpeculationParams = speculationOf({});

/** Drafts as the served API would for a request that asks the same. */
function planned(name: string, manifest: BundleManifest, options: MethodOptions, asked: SpeculationParams): Parsed {
  const calibration = options.calibration ?? manifest.calibration ?? null;
  try {
    const drafted = { own: null, predicted: false, allowed: null };
    const { heads, topK, maxNodes, rescorer, pack } = planDraft(asked, { ...manifest, calibration }, drafted);
    const { calibrated } = rescorerModule(rescorer.type);
    return { draft: { ...rescorer, pack, calibration: calibrated ? calibration : null }, heads, topK, maxNodes };
  } catch (error) {
    throw error instanceof StepError ? new Error(`method "${name}": ${error.message}`) : error;
  }
}

/** The rescorer that a method's name begins with, if it is one's. */
export function rescorerOf(name: string): RescorerType | null {
  return RESCORER_TYPES.find((type) => type === name.split(/[-@]/)[0]) ?? null;
}

/** What a method's name asks of the rescorer, and how many nodes; null: as many as may be. */
function askedOf(name: string, options: MethodOptions) {
  const lattice = /^0gram-(\d+)best$/.exec(name);
  if (lattice !== null) {
    const pBest = inRange(name, "p", Number(lattice[1]), 1, LIMITS.pBest);
    const params = { order: 2, alpha: 0, pBest, prompt: false };
    return { rescorer: { type: "ngram" as const, model: null, params, memory: false }, nodes: null };
  }
  const type = rescorerOf(name);
  if (type === null) throw new Error(`unknown method "${name}"`);
  const { calibrated, paramsSchema } = rescorerModule(type);
  const [settings, packName] = name.slice(type.length).split(/@(.*)/);
  const { number, headsOnly, ...named } = namedSettings(name, settings!, rescorerModule(type));
  const alpha = headsOnly ? 0 : options.alpha;
  const params: Params = {
    ...Object.fromEntries(Object.entries(named).filter(([param]) => param in paramsSchema.shape)),
    ...(calibrated || number === null ? {} : { order: number }),
    ...(alpha === null ? {} : { alpha }),
  };
  const model = "order" in paramsSchema.shape ? (packName ?? options.pack) : null;
  return { rescorer: { type, model, params, memory: false }, nodes: calibrated ? number : null };
}

/** What follows the type in a method's name; switches are on in a rescorer that is calibrated for them, else off. */
function namedSettings(name: string, settings: string, { paramsSchema, calibrated, usesPack }: RescorerModule) {
  const has = (param: ParamName) => param in paramsSchema.shape;
  let number: number | null = null;
  let pBest = 1;
  const words = new Set<string>();
  for (const word of settings.split(/(?<!-no)-/).slice(1)) {
    const digits = /^(\d+)(best)?$/.exec(word);
    const value = Number(digits?.[1]);
    const paths = digits?.[2] !== undefined;
    if (paths && has("pBest")) pBest = inRange(name, "p", value, 1, LIMITS.pBest);
    else if (digits !== null && !paths && calibrated) number = inRange(name, "nodes", value, 1, LIMITS.draftNodes);
    else if (digits !== null && !paths && has("order")) number = inRange(name, "order", value, 2, LIMITS.ngramOrder);
    else if ((calibrated ? ["lm", "heads"] : ["prompt"]).includes(word) && has("prompt")) words.add(word);
    else if (word === "recycled" && has("recycled")) words.add(word);
    else if ((word === "pair" || word === "no-pair") && has("pair")) words.add(word);
    else throw new Error(`unknown method "${name}"`);
  }
  if (!calibrated && usesPack && number === null) throw new Error(`method "${name}": its order is missing`);
  const headsOnly = words.has("heads");
  const pair = words.has("pair") || (headsOnly || words.has("no-pair") ? false : null);
  return {
    number,
    headsOnly,
    pBest,
    ...(pair === null ? {} : { pair }),
    prompt: calibrated ? !headsOnly && !words.has("lm") : words.has("prompt"),
    recycled: words.has("recycled"),
  };
}

function inRange(name: string, field: string, value: number, low: number, high: number): number {
  if (value < low || value > high) throw new Error(`method "${name}": ${field} must be ${low}..${high}`);
  return value;
}
