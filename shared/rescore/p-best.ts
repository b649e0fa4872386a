import { assert } from "../assert.ts";
import { chain, type DraftTree, mergePaths } from "../draft-tree.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_MODEL, EMPTY_STATE, type LmState, type NgramModel } from "../ngram/model.ts";
import { rankOf } from "./path-heap.ts";
import { createSearch } from "./search.ts";
import { Workspace } from "./workspace.ts";

/** Paths through a lattice, best first. */
export interface FoundPaths {
  readonly count: number;
  /** Rank chosen by path `path` in `column`. */
  rank(path: number, column: number): number;
}

/** The paths found through the first `columns` columns, merged. */
export function draftOfPaths(found: FoundPaths, { tokens, k }: Lattice, columns: number, maxNodes: number): DraftTree {
  const paths = Array.from({ length: found.count }, (_, path) =>
    Uint32Array.from({ length: columns }, (_, i) => tokens[i * k + found.rank(path, i)]!),
  );
  return paths.length === 1 ? chain(paths[0]!) : mergePaths(paths, maxNodes);
}

/** Shared by all: a search is over before the next starts. */
const { start, nextPath, heap } = createSearch(new Workspace());

/**
 * Exact p-best paths of lattice x LM, in four passes over the lattice graph:
 *   1. a beam search finds complete paths; the p-th best of them is the score to beat, `floor`;
 *   2. a Viterbi pass, column by column, visits the nodes through which a path may still reach `floor` by the upper
 *      bounds from bigrams;
 *   3. a backward pass over these nodes makes the bounds exact;
 *   4. best-first enumeration over exact bounds meets nothing but prefixes of the p best paths.
 * Order: higher score first, then lower ranks in earlier columns. Nothing is allocated by a search.
 */
export class PathSearch implements FoundPaths {
  /** Paths found by the last `run`, best first. */
  count = 0;
  /** [pBest] in units of 2^-30 nat */
  readonly scores = new Float64Array(LIMITS.pBest);
  private readonly keysHigh = new Uint32Array(LIMITS.pBest);
  private readonly keysLow = new Uint32Array(LIMITS.pBest);
  private readonly model: NgramModel;
  private readonly alpha: number;

  /** @param model may be null where alpha is 0: the heads alone decide */
  constructor(model: NgramModel | null, alpha: number) {
    assert(alpha >= 0 && alpha <= 1, `alpha ${alpha}`);
    assert(model !== null || alpha === 0, "alpha > 0 needs a language model");
    this.model = model === null || alpha === 0 ? EMPTY_MODEL : model;
    this.alpha = alpha;
  }

  /** Finds the `pBest` best paths through the first `columns` columns after history `state`. */
  run(lattice: Lattice, columns: number, state: LmState, pBest: number): void {
    assert(
      lattice.k <= LIMITS.topK && columns <= LIMITS.latticeHeads && columns <= lattice.heads,
      "lattice within limits",
    );
    assert(pBest >= 1 && pBest <= LIMITS.pBest, `p-best ${pBest}`);
    this.count = 0;
    if (columns === 0 || lattice.k === 0) return;
    // With alpha = 0 no model is looked at, nor its state.
    const { model, alpha } = this;
    start(model, alpha, lattice, columns, model === EMPTY_MODEL ? EMPTY_STATE : state, pBest);
    for (let path = nextPath(); path >= 0; path = this.count < pBest ? nextPath() : -1) {
      this.scores[this.count] = heap.score[path]!;
      this.keysHigh[this.count] = heap.keyHigh[path]!;
      this.keysLow[this.count++] = heap.keyLow[path]!;
    }
  }

  rank(path: number, column: number): number {
    return rankOf(this.keysHigh[path]!, this.keysLow[path]!, column);
  }
}
