import type * as z from "zod";
import type { TokenId } from "../ids.ts";
import type { NgramModel } from "../ngram/model.ts";
import { type Calibration, evidenceOf } from "./calibration.ts";
import type { PairTables } from "./pair-scores.ts";
import type { ParamName, Params } from "./params.ts";
import type { Rescorer } from "./rescorer.ts";

/** What a rescorer may be made from beside its settings. */
export interface RescorerParts {
  /** Shared by any number of rescorers; null where none is looked at, which alpha = 0 never does. */
  readonly pack: NgramModel | null;
  readonly calibration: Calibration | null;
  /** The bundle's; null where they are not looked at. */
  readonly pair: PairTables | null;
  /** What the answer is expected to be much like; read where the request's own n-grams take part. */
  readonly prediction: ArrayLike<TokenId> | null;
}

/** What a session is opened with for a rescorer's sake. */
export interface EngineWork {
  /** OpenSpec.neural */
  readonly neural: number | null;
  readonly runnersUp: number;
  /** OpenSpec.pair */
  readonly pair: boolean;
}

/** The parts of a bundle (manifest.ts) that a rescorer may need. */
export interface RescorerBundle {
  readonly calibration?: Calibration | null;
  readonly graphs: { readonly neural: object | null; readonly pair?: object | null | undefined };
}

/** Of a bundle's defaults, what settings come from. */
export interface RescorerDefaults {
  readonly rescorer: {
    readonly order: number;
    readonly alpha: number;
    readonly pBest: number;
    /** Whether n-grams of the request's own tokens take part; false where left out. */
    readonly prompt?: boolean | undefined;
    /** Whether recycled tokens do; false where left out. */
    readonly recycled?: boolean | undefined;
    /** Whether the scores of pairs do, in bundles that can; true where left out. */
    readonly pair?: boolean | undefined;
  };
  /** Weight of the local rescorer, in bundles that have one. */
  readonly neuralAlpha: number;
}

/**
 * All there is to know of a rescorer. The API's schema and defaults, the wire, both places that draft, evaluation
 * methods, tuning, the demo's controls and the tests of the documentation go through the list of these (index.ts).
 */
export interface RescorerModule<P extends Params = Params> {
  readonly type: string;
  /** As a reader sees it. */
  readonly title: string;
  /** What it makes of a lattice, a phrase: a row of docs/api.md. */
  readonly summary: string;
  /** Its settings, without `type`. */
  readonly paramsSchema: z.ZodObject<{ readonly [name in keyof P & ParamName]: z.ZodType<P[name]> }>;
  /** Whether it looks at an n-gram pack, unless alpha is 0. */
  readonly usesPack: boolean;
  /** Whether it knows how likely its nodes are (Rescorer.calibrated), so that a draft's size is its to choose. */
  readonly calibrated: boolean;
  /** What the bundle lacks for it, to follow "has no"; null: nothing. */
  needs(bundle: RescorerBundle): string | null;
  defaults(bundle: RescorerBundle & { readonly defaults: RescorerDefaults }): P;
  /** Nodes of the largest draft worth considering; `free`: of which those are verified that pay. */
  mostNodes(params: P, heads: number, free: boolean): number;
  /** What it asks of the engine; left out: nothing but lattices. */
  engine?(params: P): Partial<EngineWork>;
  /** One per request. */
  create(params: P, parts: RescorerParts): Rescorer;
}

/** What a bundle lacks for the scores of pairs to take part beside the other evidence, to follow "has no"; null: nothing. */
export function pairLack(
  { graphs, calibration }: RescorerBundle,
  { alpha, prompt = false, recycled = false }: Params,
): string | null {
  if (graphs.pair == null) return "table of pairs";
  const evidence = evidenceOf({ lm: alpha !== 0, prompt, recycled, pair: true });
  return calibration?.weights[evidence] === undefined ? `calibration for ${evidence}` : null;
}
