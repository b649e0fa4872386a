import { describe, expect, test } from "vitest";
import type { Block } from "../../../shared/decode/block.ts";
import { HintGain, Hints } from "../../../shared/decode/hints.ts";
import { Placement } from "../../../shared/decode/placement.ts";
import {
  chain,
  type DraftTree,
  EMPTY_TREE,
  SOURCES,
  type Source,
  treeFault,
  treeOf,
} from "../../../shared/draft-tree.ts";

const VOCABULARY = 50;

/** Hints after a text of `length` tokens, each its own position. */
function hintsAt(length: number): Hints {
  const hints = new Hints(VOCABULARY);
  hints.commit(Array.from({ length }, (_, i) => i));
  return hints;
}

const alone = (hints: Hints, depth = 63) => hints.merge(EMPTY_TREE, 63, depth);
const tree = (tokens: number[], parents: number[], chances: number[], sources?: Source[]): DraftTree =>
  treeOf(tokens, parents, Uint8Array.from(chances), sources && Uint8Array.from(sources, (one) => SOURCES.indexOf(one)));
/** As it is drafted: the other side's copies. */
const copies = (hint: DraftTree): DraftTree => ({ ...hint, sources: new Uint8Array(hint.tokens.length).fill(1) });

describe("a hint", () => {
  test("in time is drafted as it is, and forgotten when the text leaves it", () => {
    const hints = hintsAt(10);
    const hint = tree([20, 21, 22], [-1, 0, -1], [200, 100, 40]);
    hints.offer({ anchor: 10, tree: hint });
    expect(alone(hints)).toEqual(copies(hint));
    hints.commit([30]);
    expect(alone(hints)).toEqual(EMPTY_TREE);
  });

  test("that is late is cut to what is left, its chances given what came", () => {
    const hint = tree([7, 8, 9, 11, 12], [-1, 0, 1, 1, 3], [204, 102, 51, 40, 20]);
    const left = tree([9, 11, 12], [-1, -1, 1], [128, 100, 50]);
    const late = hintsAt(9);
    late.offer({ anchor: 7, tree: hint });
    expect(alone(late)).toEqual(copies(left));
    // The same where it came in time and the tokens after it.
    const early = hintsAt(7);
    early.offer({ anchor: 7, tree: hint });
    early.commit([7]);
    early.commit([8]);
    expect(alone(early)).toEqual(copies(left));
  });

  test("that does not fit is dropped, and the one before it kept", () => {
    const hints = hintsAt(10);
    const good = chain([20]);
    hints.offer({ anchor: 10, tree: good });
    const bad: [number, DraftTree][] = [
      [11, chain([21])],
      [8, chain([9, 9, 21])],
      [9, chain([9])],
      [0, chain(Array.from({ length: 10 }, (_, i) => i))],
      [10, chain([VOCABULARY])],
      [10, tree([1, 2], [1, -1], [255, 255])],
      [10, tree([1, 2], [-1, 0], [3, 4])],
      [10, EMPTY_TREE],
    ];
    for (const [anchor, hint] of bad) hints.offer({ anchor, tree: hint });
    expect(alone(hints)).toEqual(copies(good));
    const long = hintsAt(500);
    long.offer({ anchor: 100, tree: chain([0]) });
    expect(alone(long)).toEqual(EMPTY_TREE);
  });

  test("is merged with the draft: what both say once, the likelier figure, never above a parent's", () => {
    const hints = hintsAt(1);
    hints.offer({ anchor: 1, tree: tree([5, 6, 7], [-1, 0, 1], [220, 210, 200]) });
    const draft = tree([4, 5, 6], [-1, -1, 1], [90, 80, 10]);
    const merged = hints.merge(draft, 63, 63);
    expect(merged).toEqual(
      tree([4, 5, 6, 7], [-1, -1, 1, 2], [90, 220, 210, 200], ["lattice", "lattice", "lattice", "prompt"]),
    );
    expect(treeFault(merged, VOCABULARY)).toBeNull();
  });

  test("takes no more room than there is, the likeliest nodes of both first", () => {
    const hints = hintsAt(1);
    hints.offer({ anchor: 1, tree: tree([5, 6, 7], [-1, 0, 1], [100, 60, 10]) });
    const draft = tree([4, 9], [-1, 0], [200, 50]);
    expect(hints.merge(draft, 3, 63)).toEqual(
      tree([4, 5, 6], [-1, -1, 1], [200, 100, 60], ["lattice", "prompt", "prompt"]),
    );
    expect(hints.merge(draft, 63, 2)).toEqual(
      tree([4, 9, 5, 6], [-1, 0, -1, 2], [200, 50, 100, 60], ["lattice", "lattice", "prompt", "prompt"]),
    );
    expect(hints.merge(draft, 2, 1).tokens).toEqual(Uint32Array.of(4, 5));
    expect(hints.merge(EMPTY_TREE, 0, 63)).toEqual(copies(EMPTY_TREE));
  });
});

const block = (...tokens: number[]): Block => ({
  call: 0,
  committed: tokens.map((token) => ({ token, kind: "accepted", logProbs: null })),
  drafted: 3,
  verified: null,
  cachedTokens: 0,
  finish: null,
  timing: { queueMs: 0, modelMs: 4, engineMs: 0 },
});

describe("the gain of drafting where hints come from", () => {
  test("is seen by following a hint until the text leaves it", () => {
    const gain = new HintGain();
    expect(gain.follow(block(1))).toBeNull();
    gain.hinted(chain([2, 3, 4, 5]));
    expect(gain.follow(block(2))).toBeNull();
    // Another one is not looked at meanwhile.
    gain.hinted(chain([9]));
    expect(gain.follow(block(3, 4))).toBeNull();
    // Four tokens in three steps, which are one with three nodes and a token of the model's own.
    expect(gain.follow(block(8))).toEqual({ made: 3, needed: 1 });
    gain.hinted(chain([9]));
    expect(gain.follow(block(1, 2))).toEqual({ made: 1, needed: 1 });
  });

  test("is none where hints come in time: drafts are of the size that pays either way", () => {
    const gain = new HintGain();
    gain.follow(block(1));
    gain.hinted(chain([2, 3, 4, 5, 6, 7, 8]));
    expect(gain.follow(block(2, 3, 4, 5))).toBeNull();
    expect(gain.follow(block(6, 7, 8, 9))).toEqual({ made: 2, needed: 2 });
  });

  test("brings the loop to the edge where it outweighs the round trip, and no longer than it is seen", () => {
    const placement = new Placement("auto");
    placement.opened({ pass: 10, row: 0, wanted: 0, context: 0, heads: 0 });
    expect(placement.choose(8)).toBe("gpu");
    for (let i = 0; i < 20; i++) placement.compare({ made: 3, needed: 1 });
    expect(placement.chosen.estimates.gain).toBeCloseTo(2);
    expect(placement.choose(8)).toBe("edge");
    for (let i = 0; i < 100; i++) placement.observe({ place: "edge", timing: block(1).timing }, 0);
    expect(placement.choose(8)).toBe("gpu");
    placement.compare(null);
    expect(placement.choose(8)).toBe("gpu");
  });
});
