import { prune } from "../../shared/draft-tree.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { StepEvent } from "../decode/run.ts";
import { type TokenTable, tokenText } from "../text/detokenize.ts";
import type { TextStep } from "../text/transcript.ts";
import { round } from "./responses.ts";

/** The `speculation` object of one step; responses.ts documents it. */
export interface StepTrace {
  readonly step: number;
  readonly accepted: readonly string[];
  readonly bonus: string | null;
  readonly drafted: readonly {
    readonly id: TokenId;
    readonly text: string;
    readonly parent: number;
    readonly accepted: boolean;
  }[];
  readonly rejected: number;
  readonly step_ms: number;
  readonly model_ms: number;
}

export function traceOf(table: TokenTable, event: StepEvent, step: TextStep): StepTrace {
  const { draft, nodes } = prune(event.draft, event.threshold);
  const accepted = new Set(event.accepted.map((node) => nodes.indexOf(node)));
  return {
    step: event.index,
    accepted: step.pieces.filter((p) => p.kind === "accepted").map((p) => p.text),
    bonus: step.pieces.find((p) => p.kind === "bonus")?.text ?? null,
    drafted: Array.from(draft.tokens, (id, node) => ({
      id,
      text: tokenText(table, id),
      parent: draft.parents[node] ?? -1,
      accepted: accepted.has(node),
    })),
    rejected: draft.tokens.length - accepted.size,
    step_ms: round(event.wallMs),
    model_ms: round(event.timing.modelMs),
  };
}
