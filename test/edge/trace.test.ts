import { expect, test } from "vitest";
import { traceOf } from "../../edge/openai/trace.ts";
import type { TextStep } from "../../edge/text/transcript.ts";
import type { StepEvent } from "../../shared/decode/run.ts";
import { treeOf } from "../../shared/draft-tree.ts";
import { tokenizer, tokensOf } from "./fixture.ts";

test("a step's trace is the tree that was verified, its nodes numbered anew", () => {
  const [a, b, c, d, e] = tokensOf("abcde") as [number, number, number, number, number];
  // a and b follow the root, c follows a, d follows b, e follows d.
  const draft = treeOf([a, b, c, d, e], [-1, -1, 0, 1, 3], Uint8Array.of(60, 200, 50, 180, 100));
  const event: StepEvent = {
    index: 3,
    committed: [b, d, a].map((token, i) => ({ token, kind: i < 2 ? "accepted" : "bonus", logProbs: null })),
    draft,
    cachedTokens: 0,
    threshold: 100,
    accepted: [1, 3],
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
  const drafted = (threshold: number) => traceOf(tokenizer, { ...event, threshold }, step);
  expect(drafted(100)).toMatchObject({
    step: 3,
    drafted: [
      { id: b, text: "b", parent: -1, accepted: true },
      { id: d, text: "d", parent: 0, accepted: true },
      { id: e, text: "e", parent: 1, accepted: false },
    ],
    rejected: 1,
  });
  expect(drafted(101)).toMatchObject({ drafted: [{ id: b }, { id: d }], rejected: 0 });
  const whole = drafted(0);
  expect(whole.drafted.map(({ parent }) => parent)).toEqual([...draft.parents]);
  expect(whole).toMatchObject({ rejected: 3, accepted: ["b", "d"] });
});
