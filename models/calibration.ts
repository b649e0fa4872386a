import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { type Calibration, calibrationFault } from "../shared/rescore/calibration.ts";
import { MODELS_DIR } from "./source.ts";

/** Beside source.json; written by `npm run bench -- calibrate`. A bundle can do without. */
export const CALIBRATION_FILE = "calibration.json";

const weights = z.array(z.number()).optional();

const schema = z.strictObject({
  version: z.number(),
  command: z.string(),
  pack: z.string().nullable(),
  weights: z.strictObject({ heads: weights, "heads+lm": weights, "heads+prompt": weights, "heads+lm+prompt": weights }),
});

export function calibrationPath(bundle: string): string {
  return join(MODELS_DIR, bundle, CALIBRATION_FILE);
}

export async function hasCalibration(bundle: string): Promise<boolean> {
  return await access(calibrationPath(bundle)).then(
    () => true,
    () => false,
  );
}

/** Throws for a malformed file, and for one that another version of this program wrote. */
export async function readCalibration(path: string): Promise<Calibration> {
  const parsed = schema.safeParse(JSON.parse(await readFile(path, "utf8")));
  if (!parsed.success) throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
  const calibration = parsed.data as Calibration;
  const fault = calibrationFault(calibration);
  if (fault !== null) throw new Error(`${path}: ${fault}`);
  return calibration;
}
