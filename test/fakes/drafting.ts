import type { Drafts } from "../../gpu-worker/serve/served.ts";
import { StepError } from "../../shared/errors.ts";
import { createRescorer } from "../../shared/rescore/index.ts";

/** Drafting beside an engine that has no bundle: the rescorers, none of which finds a pack or a calibration. */
export const DRAFTING: Drafts = {
  rescorer: async ({ rescorer, prediction }) => createRescorer(rescorer, null, null, prediction),
  grammar: () => Promise.reject(new StepError("unsupported", "The engine has no tokenizer.", "grammar")),
};
