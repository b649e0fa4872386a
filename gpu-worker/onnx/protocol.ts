import type { DraftTree } from "../../shared/draft-tree.ts";
import type { BundleInfo } from "../../shared/engine.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { RunnerOptions } from "../local.ts";
import type { Outcome, RunnerSpec } from "../runner.ts";

/** What the server's thread and the model's thread tell each other; arrays in it are small and cloned. */

export interface ThreadData {
  readonly bundleDir: string;
  readonly options: RunnerOptions;
}

export type ToThread =
  | { readonly op: "open"; readonly call: number; readonly id: number; readonly spec: RunnerSpec }
  | {
      readonly op: "prefill";
      readonly call: number;
      readonly id: number;
      readonly tokens: Uint32Array;
      readonly last: boolean;
    }
  | { readonly op: "step"; readonly call: number; readonly id: number; readonly draft: DraftTree }
  | { readonly op: "close"; readonly id: number }
  /** Finish the running call, let go of the model and end. */
  | { readonly op: "end" };

export type FromThread =
  /** Once, first. */
  | { readonly op: "ready"; readonly info: BundleInfo; readonly notice: string | null }
  | { readonly op: "done"; readonly call: number; readonly outcome: Outcome | null; readonly kvBytes: number }
  | {
      readonly op: "failed";
      readonly call: number;
      /** null: no StepError. */
      readonly code: ErrorCode | null;
      readonly message: string;
      readonly kvBytes: number;
    }
  /** After a close. */
  | { readonly op: "closed"; readonly kvBytes: number };
