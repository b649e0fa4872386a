import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest, PackEntry, RescorerType } from "../../shared/manifest.ts";
import type { RescorerSpec } from "../../shared/rescore/index.ts";
import { invalid } from "./check.ts";
import type { SpeculationParams } from "./params.ts";

/** How one request drafts, with the bundle's defaults filled in. */
export interface DraftPlan {
  /** Lattice rows; 0: plain autoregressive decoding. */
  readonly heads: number;
  readonly topK: number;
  /** Upper bound of drafted nodes per step. */
  readonly maxNodes: number;
  /** true: the number of nodes is chosen each step (decode/run.ts); false: always `maxNodes`. */
  readonly autoNodes: boolean;
  readonly rescorer: RescorerSpec;
  /** Weight of the local rescorer, which the engine runs; null: none. */
  readonly neural: number | null;
  /** Whether the tenant's earlier texts take part. */
  readonly memory: boolean;
  /** The pack `rescorer` looks at, if it does. */
  readonly pack: PackEntry | null;
}

/**
 * Checks `speculation` against the bundle and fills in its defaults; where there is a prediction, drafts copy from the
 * request's own tokens unless it says otherwise. Throws StepError (400) naming the
 * field that asks for more than the bundle has.
 */
export function planDraft(asked: SpeculationParams, manifest: BundleManifest, predicted = false): DraftPlan {
  const { defaults } = manifest;
  const params = predicted ? withCopies(asked, manifest) : asked;
  atMost("speculation.heads", params.heads, manifest.latticeHeads);
  atMost("speculation.top_k", params.topK, manifest.topK);
  const type = params.rescorer.type ?? defaultType(manifest);
  // A misspelt pack is an error even where this request would not use it.
  const pack = findPack(params.rescorer.model, manifest);
  atMost("speculation.rescorer.order", params.rescorer.order, pack?.order ?? LIMITS.ngramOrder);
  const heads = Math.min(params.heads ?? defaults.heads, manifest.latticeHeads);
  const rescorer = rescorerSpec(type, params.rescorer, manifest, pack);
  return {
    heads: params.enabled ? heads : 0,
    topK: Math.min(params.topK ?? defaults.topK, manifest.topK),
    maxNodes: params.enabled ? (params.maxNodes ?? mostNodes(rescorer, heads, params.heads === null)) : 0,
    autoNodes: params.enabled && params.maxNodes === null && (params.heads === null || rescorer.type === "tree"),
    rescorer,
    neural: params.enabled ? neuralAlpha(type, params.rescorer, manifest) : null,
    memory: params.enabled && usesMemory(rescorer, params.rescorer),
    pack: rescorer.type === "none" || rescorer.alpha === 0 ? null : pack,
  };
}

/** Of a bundle whose default rescorer cannot copy, n-grams of the request alone do. */
function withCopies(params: SpeculationParams, manifest: BundleManifest): SpeculationParams {
  const { rescorer } = params;
  const usual = rescorer.type ?? defaultType(manifest);
  const cannot = rescorer.type === null && (usual === "none" || usual === "neural");
  const instead = cannot ? { type: "ngram" as const, alpha: rescorer.alpha ?? 0 } : {};
  return { ...params, rescorer: { ...rescorer, ...instead, prompt: rescorer.prompt ?? true } };
}

/** Nodes of the largest draft worth considering: a copy of the prompt may go on beyond the heads. */
function mostNodes(rescorer: RescorerSpec, heads: number, chosenEachStep: boolean): number {
  if (rescorer.type === "none") return heads;
  if (rescorer.type === "tree" || (rescorer.prompt && chosenEachStep)) return LIMITS.draftNodes;
  return Math.min(heads * rescorer.pBest, LIMITS.draftNodes);
}

/** The bundle's, as far as it has what that needs. */
function defaultType(manifest: BundleManifest): RescorerType {
  const { type } = manifest.defaults.rescorer;
  if (!availableRescorers(manifest).includes(type)) return "none";
  // Without a pack only what the prompt itself proposes is left, which asks no language model.
  const needsPack = type !== "neural" && manifest.defaults.rescorer.alpha > 0;
  return !needsPack || manifest.packs.length > 0 ? type : "none";
}

function neuralAlpha(
  type: RescorerType,
  wanted: SpeculationParams["rescorer"],
  manifest: BundleManifest,
): number | null {
  if (type !== "neural") return null;
  if (manifest.graphs.neural === null) {
    throw invalid("speculation.rescorer.type", `model ${manifest.name} has no neural rescorer`);
  }
  return wanted.alpha ?? manifest.defaults.neuralAlpha;
}

function rescorerSpec(
  type: RescorerType,
  wanted: SpeculationParams["rescorer"],
  manifest: BundleManifest,
  pack: PackEntry | null,
): RescorerSpec {
  // A lattice that the engine has re-ranked is drafted as it comes.
  if (type === "none" || type === "neural") return { type: "none" };
  const { rescorer: defaults } = manifest.defaults;
  const alpha = wanted.alpha ?? defaults.alpha;
  if (pack === null && alpha > 0) {
    throw invalid("speculation.rescorer.type", `model ${manifest.name} has no n-gram pack; only alpha 0 works`);
  }
  const order = wanted.order ?? Math.min(defaults.order, pack?.order ?? defaults.order);
  const prompt = wanted.prompt ?? (wanted.memory || (defaults.prompt ?? false));
  if (type === "ngram") return { type, order, alpha, pBest: wanted.pBest ?? defaults.pBest, prompt };
  if (manifest.calibration == null) {
    throw invalid("speculation.rescorer.type", `model ${manifest.name} has no calibration, which 'tree' needs`);
  }
  return { type, order, alpha, prompt };
}

/** What is remembered takes part as copies do. Throws StepError (400) where these are left out. */
function usesMemory(rescorer: RescorerSpec, { memory }: SpeculationParams["rescorer"]): boolean {
  if (memory && (rescorer.type === "none" || !rescorer.prompt)) {
    throw invalid("speculation.rescorer.memory", "it needs type 'ngram' or 'tree', with prompt: true");
  }
  return memory;
}

/** What a request may name as `rescorer.type`. */
export function availableRescorers({ calibration, graphs }: BundleManifest): RescorerType[] {
  const types: RescorerType[] = ["none", "ngram"];
  if (calibration != null) types.push("tree");
  if (graphs.neural !== null) types.push("neural");
  return types;
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
