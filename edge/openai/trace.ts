import type { StepEvent } from "../../shared/decode/run.ts";
import { EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { TokenTable } from "../../shared/token-table.ts";
import { tokenText } from "../text/detokenize.ts";
import type { TextStep } from "../text/transcript.ts";
import type { StepTrace } from "./answer-schemas.ts";
import { round } from "./stats.ts";

export function traceOf(table: TokenTable, event: StepEvent, step: TextStep): StepTrace {
  const { tree, accepted: path } = event.verified ?? { tree: EMPTY_TREE, accepted: [] };
  const accepted = new Set(path);
  return {
    step: event.call,
    accepted: step.pieces.filter((p) => p.kind === "accepted").map((p) => p.text),
    bonus: step.pieces.find((p) => p.kind === "bonus")?.text ?? null,
    drafted: Array.from(tree.tokens, (id, node) => ({
      id,
      text: tokenText(table, id),
      parent: tree.parents[node] ?? -1,
      accepted: accepted.has(node),
    })),
    rejected: tree.tokens.length - accepted.size,
    place: event.place,
    step_ms: round(event.wallMs),
    model_ms: round(event.timing.modelMs),
  };
}
