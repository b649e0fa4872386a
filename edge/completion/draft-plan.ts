import type { RunRequest } from "../../shared/decode/run-request.ts";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import {
  availableRescorers,
  engineWork,
  type RescorerSpec,
  type RescorerType,
  rescorerModule,
  rescorerSpec,
  settings,
} from "../../shared/rescore/index.ts";
import { type EngineWork, pairLack } from "../../shared/rescore/module.ts";
import type { Params } from "../../shared/rescore/params.ts";
import { invalid } from "../openai/check.ts";
import type { SpeculationParams } from "../openai/params.ts";
import type { StoredPack } from "../packs/pack-store.ts";

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
  /** The bundle's pack that `rescorer` looks at, if it does. */
  readonly pack: PackEntry | null;
  /** In its place, the tenant's own. */
  readonly ownPack: StoredPack | null;
  /** What drafts are made from at a gpu-worker, which has no tenant's pack. */
  readonly elsewhere: Pick<RunRequest, "rescorer" | "pack">;
}

/** What of a request bears upon how it drafts, beside `speculation`. */
export interface Drafted {
  /** The tenant's pack that `rescorer.model` names; null: it names one of the bundle's. */
  readonly own: StoredPack | null;
  /** Whether there is a prediction: then drafts copy from the request's own tokens unless it says otherwise. */
  readonly predicted: boolean;
  /** Rescorers that the caller may use beside `none`; null: all. */
  readonly allowed: readonly RescorerType[] | null;
}

/**
 * Checks `speculation` against the bundle and fills in its defaults. Throws StepError (400, 403) naming the field that asks for
 * more than the bundle has or the caller may use.
 */
export function planDraft(asked: SpeculationParams, manifest: BundleManifest, drafted: Drafted): DraftPlan {
  const { own, predicted, allowed } = drafted;
  const { defaults } = manifest;
  const params = withAllowed(predicted ? withCopies(asked, manifest) : asked, asked.rescorer.type, manifest, allowed);
  atMost("speculation.heads", params.heads, manifest.latticeHeads);
  atMost("speculation.top_k", params.topK, manifest.topK);
  const type = params.rescorer.type ?? defaultType(manifest);
  // A misspelt pack is an error even where this request would not use it.
  const shipped = own === null ? findPack(params.rescorer.model, manifest) : findPack(null, manifest);
  const pack = own ?? shipped;
  atMost("speculation.rescorer.order", params.rescorer.params.order ?? null, pack?.order ?? LIMITS.ngramOrder);
  const heads = Math.min(params.heads ?? defaults.heads, manifest.latticeHeads);
  const drafting = specOf(type, params.rescorer, manifest, pack);
  const rescorer: RescorerSpec = params.enabled ? drafting : { type: "none" };
  const { calibrated, usesPack, mostNodes } = rescorerModule(rescorer.type);
  const looked = usesPack && "alpha" in rescorer && rescorer.alpha !== 0;
  if (own !== null && looked) checkOwn(own, manifest);
  return {
    heads: params.enabled ? heads : 0,
    topK: Math.min(params.topK ?? defaults.topK, manifest.topK),
    maxNodes: params.enabled ? (params.maxNodes ?? mostNodes(settings(rescorer), heads, params.heads === null)) : 0,
    autoNodes: params.enabled && params.maxNodes === null && (params.heads === null || calibrated),
    rescorer,
    engine: engineWork(rescorer),
    memory: params.enabled && usesMemory(rescorer, params.rescorer),
    pack: looked && own === null ? shipped : null,
    ownPack: looked ? own : null,
    elsewhere: looked ? runnable(rescorer, shipped) : { rescorer, pack: null },
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

/** Throws StepError (400) where the model cannot use the tenant's pack. */
function checkOwn(own: StoredPack, { name, tokenizer }: BundleManifest): void {
  if (own.tokenizer !== tokenizer.sha256) {
    throw invalid("speculation.rescorer.model", `pack ${own.name} was made for another tokenizer than that of ${name}`);
  }
}

/** The same with the bundle's pack, or without any. */
function runnable(rescorer: RescorerSpec, shipped: PackEntry | null): DraftPlan["elsewhere"] {
  if (shipped !== null) return { rescorer, pack: shipped.sha256 };
  return { rescorer: rescorerSpec(rescorer.type, { ...settings(rescorer), alpha: 0 }), pack: null };
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
  pack: Pick<PackEntry, "order"> | null,
): RescorerSpec {
  const { needs, defaults, usesPack, calibrated } = rescorerModule(type);
  const missing = needs(manifest);
  if (missing !== null) throw invalid("speculation.rescorer.type", `model ${manifest.name} has no ${missing}`);
  const usual = defaults(manifest);
  const params = { ...usual, ...(memory ? { prompt: true } : {}), ...wanted };
  const { calibration } = manifest;
  if (calibrated && calibration != null && params.alpha !== 0 && calibration.weights["heads+lm"] === undefined) {
    throw invalid(
      "speculation.rescorer.alpha",
      `model ${manifest.name} has no calibration with a pack; only alpha 0 works, or type 'ngram'`,
    );
  }
  if (usesPack && pack === null && params.alpha !== 0) {
    throw invalid("speculation.rescorer.type", `model ${manifest.name} has no n-gram pack; only alpha 0 works`);
  }
  if (calibrated && params.pair) params.pair = usesPairs(params, wanted.pair, manifest);
  if (wanted.order === undefined && usual.order !== undefined && pack !== null) {
    params.order = Math.min(usual.order, pack.order);
  }
  return rescorerSpec(type, params);
}

/** Whether pairs take part, which they do by default. Throws StepError (400) where the bundle cannot and they were asked for. */
function usesPairs(params: Params, asked: boolean | undefined, manifest: BundleManifest): boolean {
  const missing = pairLack(manifest, params);
  if (missing === null || !asked) return missing === null;
  throw invalid("speculation.rescorer.pair", `model ${manifest.name} has no ${missing}`);
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
