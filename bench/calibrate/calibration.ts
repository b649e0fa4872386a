import type { NgramModel } from "../../shared/ngram/model.ts";
import {
  CALIBRATION_VERSION,
  type Calibration,
  EVIDENCE,
  type Evidence,
  type EvidenceKinds,
  evidenceOf,
} from "../../shared/rescore/calibration.ts";
import type { PairTables } from "../../shared/rescore/pair-scores.ts";
import type { Generation } from "../eval/trace.ts";
import { collectExamples } from "./examples.ts";
import { fit } from "./fit.ts";

/** Copies of the prompt go on beyond the heads. */
const DEPTH = 16;
const ROUNDS = 200;
const DIGITS = 4;

export interface FitOptions {
  /** null: there is no n-gram model. */
  readonly model: NgramModel | null;
  readonly pack: string | null;
  /** null: the bundle has none. */
  readonly pair: PairTables | null;
  readonly penalty: number;
  /** What a reader would have to run. */
  readonly command: string;
  readonly onFit?: () => void;
}

/** The sets of evidence that are at hand. */
export function evidenceAtHand({ model, pair }: Pick<FitOptions, "model" | "pair">): EvidenceKinds[] {
  return EVIDENCE.filter((kind) => (model !== null || !kind.lm) && (pair !== null || !kind.pair));
}

/** Weights for each of them, and nats per choice with them. */
export function fitCalibration(generations: readonly Generation[], options: FitOptions) {
  const { model, pack, pair, penalty, command, onFit } = options;
  const weights: Partial<Record<Evidence, number[]>> = {};
  const loss: Partial<Record<Evidence, number>> = {};
  let choices = 0;
  for (const kind of evidenceAtHand(options)) {
    const parts = { model: kind.lm ? model : null, pair: kind.pair ? pair : null };
    const examples = collectExamples(generations, { ...kind, ...parts, depth: DEPTH });
    // Pairs only add to what was fitted without them.
    const near = kind.pair ? weights[evidenceOf({ ...kind, pair: false })] : null;
    const fitted = fit(examples, penalty, ROUNDS, near);
    weights[evidenceOf(kind)] = [...fitted.weights].map((w) => Number(w.toFixed(DIGITS)));
    loss[evidenceOf(kind)] = fitted.loss;
    choices = examples.choices;
    onFit?.();
  }
  const calibration: Calibration = { version: CALIBRATION_VERSION, command, pack, weights };
  return { calibration, loss, choices };
}
