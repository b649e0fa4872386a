import type { BundleInfo, Load, StepEngine } from "../../shared/engine.ts";
import type { Drafting } from "./drafting.ts";

/** What is served once it has been loaded. */
export interface Served extends StepEngine {
  readonly bundle: BundleInfo;
  readonly load: Load;
}

/** What drafts beside the model. */
export type Drafts = Pick<Drafting, "rescorer" | "grammar">;
