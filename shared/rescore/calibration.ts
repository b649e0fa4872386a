import { assert } from "../assert.ts";
import { CANDIDATES, type Continuations } from "./continuations.ts";
import { Features, WEIGHTS } from "./features.ts";
import type { PathEnd } from "./path-end.ts";
import { exp } from "./real.ts";

/** Raised when the features change: weights of another version mean something else. */
export const CALIBRATION_VERSION = 4;

/** Which evidence a set of weights was fitted with, beside the heads'. */
export type Evidence = `heads${"" | "+lm"}${"" | "+prompt"}${"" | "+recycled"}${"" | "+pair"}`;

export interface EvidenceKinds {
  readonly lm: boolean;
  readonly prompt: boolean;
  readonly recycled: boolean;
  readonly pair: boolean;
}

/** Every combination. */
export const EVIDENCE: readonly EvidenceKinds[] = [false, true].flatMap((pair) =>
  [false, true].flatMap((lm) =>
    [false, true].flatMap((prompt) => [false, true].map((recycled) => ({ lm, prompt, recycled, pair }))),
  ),
);

/** models/<name>/calibration.json, carried in the bundle manifest. Written by `npm run bench -- calibrate`. */
export interface Calibration {
  readonly version: number;
  /** The command that made it. */
  readonly command: string;
  /** The n-gram pack whose probabilities the weights with "lm" were fitted to; null for a bundle without. */
  readonly pack: string | null;
  readonly weights: Readonly<Partial<Record<Evidence, readonly number[]>>>;
}

export function evidenceOf({ lm, prompt, recycled, pair }: EvidenceKinds): Evidence {
  return `heads${lm ? "+lm" : ""}${prompt ? "+prompt" : ""}${recycled ? "+recycled" : ""}${pair ? "+pair" : ""}`;
}

/** Why `calibration` cannot be used by this version, or null. */
export function calibrationFault(calibration: Calibration): string | null {
  if (calibration.version !== CALIBRATION_VERSION) {
    return `version ${calibration.version}, this program reads ${CALIBRATION_VERSION}: fit it again`;
  }
  const wrong = Object.entries(calibration.weights).find(([, weights]) => weights.length !== WEIGHTS);
  return wrong === undefined ? null : `${wrong[1].length} weights for ${wrong[0]}, not ${WEIGHTS}: fit it again`;
}

/**
 * P(next token = w | the path is right so far), for every token that `Continuations` lists: a softmax over the tokens'
 * scores and that of "another one", each a weighted sum of features (features.ts).
 */
export class AcceptanceModel {
  /** [count] of the last call. */
  readonly probabilities = new Float64Array(CANDIDATES);
  private readonly weights: Float64Array;
  private readonly features = new Features();

  constructor(weights: readonly number[]) {
    assert(weights.length === WEIGHTS, `${weights.length} calibration weights`);
    this.weights = Float64Array.from(weights);
  }

  estimate(after: Continuations, end: PathEnd): void {
    const { features, weights, probabilities } = this;
    features.describeOther(after, end);
    const other = features.score(weights);
    // Scores are relative to the highest, so that exp neither overflows nor gives zero to all.
    let highest = other;
    for (let c = 0; c < after.count; c++) {
      features.describe(after, c, end);
      probabilities[c] = features.score(weights);
      if (probabilities[c]! > highest) highest = probabilities[c]!;
    }
    let total = exp(other - highest);
    for (let c = 0; c < after.count; c++) {
      probabilities[c] = exp(probabilities[c]! - highest);
      total += probabilities[c]!;
    }
    for (let c = 0; c < after.count; c++) probabilities[c]! /= total;
  }
}
