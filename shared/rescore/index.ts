import type { TokenId } from "../ids.ts";
import type { NgramModel } from "../ngram/model.ts";
import type { Calibration } from "./calibration.ts";
import type { EngineWork, RescorerBundle, RescorerModule } from "./module.ts";
import { neuralModule } from "./neural.ts";
import { ngramModule } from "./ngram.ts";
import { noneModule } from "./none.ts";
import { pairModule } from "./pair.ts";
import type { PairTables } from "./pair-scores.ts";
import type { Params } from "./params.ts";
import { pathModule } from "./path.ts";
import type { Rescorer } from "./rescorer.ts";
import { treeModule } from "./tree.ts";

/** Every rescorer, in the order in which they are listed to readers. */
const MODULES = {
  none: noneModule,
  ngram: ngramModule,
  path: pathModule,
  tree: treeModule,
  neural: neuralModule,
  pair: pairModule,
} as const;

export type RescorerType = keyof typeof MODULES;

type Settings<M> = M extends RescorerModule<infer P> ? P : never;

/** A rescorer and its settings. */
export type RescorerSpec = {
  readonly [T in RescorerType]: { readonly type: T } & Readonly<Settings<(typeof MODULES)[T]>>;
}[RescorerType];

export const RESCORER_TYPES = Object.keys(MODULES) as readonly RescorerType[];

/** The descriptor, for settings that its own schema has checked. */
export function rescorerModule(type: RescorerType): RescorerModule {
  return MODULES[type] as RescorerModule;
}

/** Throws ZodError where settings are missing or wrong; those of other rescorers are left out. */
export function rescorerSpec(type: RescorerType, params: Params): RescorerSpec {
  return { type, ...rescorerModule(type).paramsSchema.parse(params) } as RescorerSpec;
}

/** The rescorers that a bundle has all parts for. */
export function availableRescorers(bundle: RescorerBundle): RescorerType[] {
  return RESCORER_TYPES.filter((type) => rescorerModule(type).needs(bundle) === null);
}

/** No rescorer asks less. */
export const NO_WORK: EngineWork = { neural: null, runnersUp: 0, pair: false };

/** What `spec` asks of the engine. */
export function engineWork(spec: RescorerSpec): EngineWork {
  return { ...NO_WORK, ...rescorerModule(spec.type).engine?.(settings(spec)) };
}

/** One per request; RescorerParts. */
export function createRescorer(
  spec: RescorerSpec,
  pack: NgramModel | null,
  calibration: Calibration | null = null,
  prediction: ArrayLike<TokenId> | null = null,
  pair: PairTables | null = null,
): Rescorer {
  return rescorerModule(spec.type).create(settings(spec), { pack, calibration, pair, prediction });
}

/** Without the type. */
export function settings({ type: _, ...params }: RescorerSpec): Params {
  return params;
}
