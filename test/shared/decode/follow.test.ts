import { describe, expect, test } from "vitest";
import { type CommittedToken, type FinishReason, follow, INITIAL_STATE } from "../../../shared/decode/advance.ts";

const LIMITS = { maxTokens: 5, eosTokens: [9] };
const block = (tokens: readonly number[], finish: FinishReason | null = null) => ({
  committed: tokens.map((token): CommittedToken => ({ token, kind: "accepted", logProbs: null })),
  finish,
});

describe("blocks that an engine makes by itself", () => {
  test("count towards the limit, up to an end that both sides see", () => {
    const begun = follow(INITIAL_STATE, LIMITS, block([1, 2, 3]));
    expect(begun).toEqual({ committed: 3, finish: null });
    expect(follow(begun, LIMITS, block([4, 5], "length"))).toEqual({ committed: 5, finish: "length" });
    expect(follow(begun, LIMITS, block([4, 9], "stop"))).toEqual({ committed: 5, finish: "stop" });
    expect(follow(begun, LIMITS, block([9], "stop"))).toEqual({ committed: 4, finish: "stop" });
  });

  test.each<[string, ReturnType<typeof block>]>([
    ["more tokens than were asked for", block([1, 2, 3, 4, 5, 6], "length")],
    ["tokens after the end", block([1, 9, 2], "stop")],
    ["an end that is not told", block([1, 9])],
    ["a limit that is not told", block([1, 2, 3, 4, 5])],
    ["an end that is none", block([1, 2], "stop")],
    ["a limit that is not reached", block([1, 2], "length")],
    ["another end", block([1, 9], "length")],
  ])("are refused with %s", (_, wrong) => {
    expect(() => follow(INITIAL_STATE, LIMITS, wrong)).toThrow(expect.objectContaining({ code: "engine_failed" }));
  });
});
