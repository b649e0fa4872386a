import type { NgramModel } from "../../shared/ngram/model.ts";
import {
  CALIBRATION_VERSION,
  type Calibration,
  EVIDENCE,
  type Evidence,
  evidenceOf,
} from "../../shared/rescore/calibration.ts";
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
  readonly penalty: number;
  /** What a reader would have to run. */
  readonly command: string;
  readonly onFit?: () => void;
}

/** Weights for each set of evidence that is at hand, and nats per choice with them. */
export function fitCalibration(generations: readonly Generation[], options: FitOptions) {
  const { model, pack, penalty, command, onFit } = options;
  const weights: Partial<Record<Evidence, number[]>> = {};
  const loss: Partial<Record<Evidence, number>> = {};
  let choices = 0;
  for (const kind of EVIDENCE.filter(({ lm }) => model !== null || !lm)) {
    const examples = collectExamples(generations, { ...kind, model: kind.lm ? model : null, depth: DEPTH });
    const fitted = fit(examples, penalty, ROUNDS);
    weights[evidenceOf(kind)] = [...fitted.weights].map((w) => Number(w.toFixed(DIGITS)));
    loss[evidenceOf(kind)] = fitted.loss;
    choices = examples.choices;
    onFit?.();
  }
  const calibration: Calibration = { version: CALIBRATION_VERSION, command, pack, weights };
  return { calibration, loss, choices };
}
