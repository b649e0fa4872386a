import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import {
  availableRescorers,
  engineWork,
  NO_WORK,
  type RescorerSpec,
  type RescorerType,
  rescorerModule,
  rescorerSpec,
  settings,
} from "../../shared/rescore/index.ts";
import type { EngineWork } from "../../shared/rescore/module.ts";
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
  /** What it asks of the engine. */
  readonly engine: EngineWork;
  /** Whether the tenant's earlier texts take part. */
  readonly memory: boolean;
  /** The pack `rescorer` looks at, if it does. */
  readonly pack: PackEntry | null;
}

export interface DraftTerms {
  /** Whether there is a prediction: drafts then copy from the request's own tokens unless it says otherwise. */
  readonly predicted?: boolean;
  /** Rescorers that the caller may use beside `none`; null: all. */
  readonly allowed?: readonly RescorerType[] | null;
}

/**
 * Checks `speculation` against the bundle and fills in its defaults. Throws StepError (400, 403) naming the
 * field that asks for more than the bundle has or the caller may use.
 */
export function planDraft(asked: SpeculationParams, manifest: BundleManifest, terms: DraftTerms = {}): DraftPlan {
  const { defaults } = manifest;
  const { predicted = false, allowed = null } = terms;
  const params = withAllowed(predicted ? withCopies(asked, manifest) : asked, asked.rescorer.type, manifest, allowed);
  atMost("speculation.heads", params.heads, manifest.latticeHeads);
  atMost("speculation.top_k", params.topK, manifest.topK);
  const type = params.rescorer.type ?? defaultType(manifest);
  // A misspelt pack is an error even where this request would not use it.
  const pack = findPack(params.rescorer.model, manifest);
  atMost("speculation.rescorer.order", params.rescorer.params.order ?? null, pack?.order ?? LIMITS.ngramOrder);
  const heads = Math.min(params.heads ?? defaults.heads, manifest.latticeHeads);
  const rescorer = specOf(type, params.rescorer, manifest, pack);
  const { calibrated, usesPack, mostNodes } = rescorerModule(rescorer.type);
  return {
    heads: params.enabled ? heads : 0,
    topK: Math.min(params.topK ?? defaults.topK, manifest.topK),
    maxNodes: params.enabled ? (params.maxNodes ?? mostNodes(settings(rescorer), heads, params.heads === null)) : 0,
    autoNodes: params.enabled && params.maxNodes === null && (params.heads === null || calibrated),
    rescorer,
    engine: params.enabled ? engineWork(rescorer) : NO_WORK,
    memory: params.enabled && usesMemory(rescorer, params.rescorer),
    pack: usesPack && "alpha" in rescorer && rescorer.alpha !== 0 ? pack : null,
  };
}

/** Where none is named, one that the caller may use. Throws StepError "forbidden" where another one is. */
function withAllowed(
  params: SpeculationParams,
  named: RescorerType | null,
  manifest: BundleManifest,
  allowed: readonly RescorerType[] | null,
): SpeculationParams {
  const { rescorer } = params;
  const wanted = rescorer.type ?? defaultType(manifest);
  if (allowed === null || !params.enabled || wanted === "none" || allowed.includes(wanted)) return params;
  if (named !== null) {
    const message = `This API key may use the rescorers ${["none", ...allowed].join(", ")}, not '${named}'.`;
    throw new StepError("forbidden", message, "speculation.rescorer.type");
  }
  const type = allowed.find((one) => availableRescorers(manifest).includes(one)) ?? "none";
  return { ...params, rescorer: { ...rescorer, type } };
}

/** Of a bundle whose default rescorer cannot copy, n-grams of the request alone do. */
function withCopies(asked: SpeculationParams, manifest: BundleManifest): SpeculationParams {
  const { rescorer } = asked;
  const { type, params } = rescorer;
  const cannot = type === null && !("prompt" in rescorerModule(defaultType(manifest)).paramsSchema.shape);
  const instead = cannot
    ? { type: "ngram" as const, params: { prompt: true, alpha: 0, ...params } }
    : { params: { prompt: true, ...params } };
  return { ...asked, rescorer: { ...rescorer, ...instead } };
}

/** The bundle's, as far as it has what that needs. */
function defaultType(manifest: BundleManifest): RescorerType {
  const { type } = manifest.defaults.rescorer;
  if (!availableRescorers(manifest).includes(type)) return "none";
  // Without a pack only what the prompt itself proposes is left, which asks no language model.
  const needsPack = rescorerModule(type).usesPack && manifest.defaults.rescorer.alpha > 0;
  return needsPack && manifest.packs.length === 0 ? "none" : type;
}

/** The settings asked for, and the bundle's defaults for the rest. */
function specOf(
  type: RescorerType,
  { params: wanted, memory }: SpeculationParams["rescorer"],
  manifest: BundleManifest,
  pack: PackEntry | null,
): RescorerSpec {
  const { needs, defaults, usesPack } = rescorerModule(type);
  const missing = needs(manifest);
  if (missing !== null) throw invalid("speculation.rescorer.type", `model ${manifest.name} has no ${missing}`);
  const usual = defaults(manifest);
  const params = { ...usual, ...(memory ? { prompt: true } : {}), ...wanted };
  if (usesPack && pack === null && params.alpha !== 0) {
    throw invalid("speculation.rescorer.type", `model ${manifest.name} has no n-gram pack; only alpha 0 works`);
  }
  if (wanted.order === undefined && usual.order !== undefined && pack !== null) {
    params.order = Math.min(usual.order, pack.order);
  }
  return rescorerSpec(type, params);
}

/** What is remembered takes part as copies do. Throws StepError (400) where these are left out. */
function usesMemory(rescorer: RescorerSpec, { memory }: SpeculationParams["rescorer"]): boolean {
  if (memory && !("prompt" in rescorer && rescorer.prompt)) {
    throw invalid("speculation.rescorer.memory", "it needs type 'ngram' or 'tree', with prompt: true");
  }
  return memory;
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
