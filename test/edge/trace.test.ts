import { expect, test } from "vitest";
import { traceOf } from "../../edge/openai/trace.ts";
import type { TextStep } from "../../edge/text/transcript.ts";
import type { StepEvent } from "../../shared/decode/run.ts";
import { treeOf } from "../../shared/draft-tree.ts";
import { tokenizer, tokensOf } from "./fixture.ts";

test("a step's trace is the tree that was verified, and nothing of it where nobody asked", () => {
  const [a, b, c, d, e] = tokensOf("abcde") as [number, number, number, number, number];
  // a and b follow the root, c follows a, d follows b, e follows d.
  const tree = treeOf([a, b, c, d, e], [-1, -1, 0, 1, 3], Uint8Array.of(60, 200, 50, 180, 100));
  const event: StepEvent = {
    call: 3,
    committed: [b, d, a].map((token, i) => ({ token, kind: i < 2 ? "accepted" : "bonus", logProbs: null })),
    drafted: 5,
    verified: { tree, accepted: [1, 3] },
    cachedTokens: 0,
    place: "gpu",
    finish: null,
    timing: { queueMs: 0, modelMs: 2, engineMs: 0 },
    wallMs: 3,
  };
  const pieces = [
    { kind: "accepted", text: "b" },
    { kind: "accepted", text: "d" },
    { kind: "bonus", text: "a" },
  ] as const;
  const step: TextStep = { text: "bda", kept: 3, pieces, entries: [], finish: null };
  const trace = traceOf(tokenizer, event, step);
  expect(trace).toMatchObject({ step: 3, place: "gpu", rejected: 3, accepted: ["b", "d"], step_ms: 3, model_ms: 2 });
  expect(trace.drafted.map(({ id, text, parent, accepted }) => [id, text, parent, accepted])).toEqual([
    [a, "a", -1, false],
    [b, "b", -1, true],
    [c, "c", 0, false],
    [d, "d", 1, true],
    [e, "e", 3, false],
  ]);
  expect(traceOf(tokenizer, { ...event, verified: null }, step)).toMatchObject({ drafted: [], rejected: 0 });
});
