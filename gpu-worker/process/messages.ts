import type { BundleInfo } from "../../shared/engine.ts";
import type { LoadOptions } from "../load.ts";
import type { PassResult, RunnerItem, RunnerSession } from "../runner.ts";

/** What the server's process and the model's process tell each other, by structured clone. */

export type ToModel =
  /** Once, first. */
  | { readonly op: "load"; readonly bundleDir: string; readonly options: LoadOptions }
  | {
      readonly op: "open";
      readonly id: number;
      readonly session: RunnerSession;
      readonly pages: readonly number[];
      readonly cached: number;
    }
  /** Answered by `done` or `failed` before the next one comes. */
  | { readonly op: "run"; readonly items: readonly RunnerItem[] }
  | { readonly op: "close"; readonly id: number };

export type FromModel =
  /** Once: loaded. */
  | {
      readonly op: "ready";
      readonly info: BundleInfo;
      readonly notice: string | null;
      readonly pages: number;
      readonly maxRows: number;
    }
  | { readonly op: "done"; readonly result: PassResult }
  /** The model can no longer be used; before `ready`, it cannot be loaded. */
  | { readonly op: "failed"; readonly message: string };
