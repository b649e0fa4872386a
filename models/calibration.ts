import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { type Calibration, calibrationFault, EVIDENCE, evidenceOf } from "../shared/rescore/calibration.ts";
import { type BundleSource, MODELS_DIR } from "./source.ts";

const schema = z.strictObject({
  version: z.number(),
  command: z.string(),
  pack: z.string().nullable(),
  weights: z.partialRecord(z.enum(EVIDENCE.map(evidenceOf)), z.array(z.number())),
});

/** Beside source.json; written by `npm run bench -- calibrate`. A bundle can do without. */
export function calibrationPath(bundle: string): string {
  return join(MODELS_DIR, bundle, "calibration.json");
}

/** Of copies and recycled tokens alone, fitted to SmolLM2-135M: what serves a model that nothing was fitted to. */
const WITHOUT_HEADS = join(MODELS_DIR, "without-heads.json");

/** null: the bundle has none, or one that another version of this program wrote, which is to be fitted again. */
export async function calibrationOf(source: BundleSource): Promise<Calibration | null> {
  // Heads that were given along with a file are not those that anything was fitted to.
  if (source.folder === null && source.heads !== null) return null;
  const path = source.folder === null ? WITHOUT_HEADS : join(source.folder, "calibration.json");
  const text = await readFile(path, "utf8").catch(() => null);
  const calibration = text === null ? null : parseCalibration(text, path);
  return calibration === null || calibrationFault(calibration) !== null ? null : calibration;
}

/** Throws where there is no such file, it is malformed, or another version of this program wrote it. */
export async function readCalibration(path: string): Promise<Calibration> {
  const calibration = parseCalibration(await readFile(path, "utf8"), path);
  const fault = calibrationFault(calibration);
  if (fault !== null) throw new Error(`${path}: ${fault}`);
  return calibration;
}

function parseCalibration(text: string, path: string): Calibration {
  const parsed = schema.safeParse(JSON.parse(text));
  if (!parsed.success) throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
  return parsed.data as Calibration;
}
