import { CERTAIN, type DraftTree } from "../../shared/draft-tree.ts";
import type { NodeIndex } from "../../shared/ids.ts";

/** Promised tokens that what it begins with is worth. */
const PRIOR = 8;
/** Bounds of what others may make it begin with: one caller's made-up chances do not end everybody's drafts. */
const LEAST = 0.6;
const MOST = 1;

/**
 * How many of the tokens that chances promise come true. Nodes are let in where their chances are high, and so are
 * those whose chances are too high: the fuller the passes, the more of them.
 */
export class Trust {
  readonly #memory: number;
  readonly #start: number;
  #promised = 0;
  #kept = 0;

  /** `memory`: promised tokens that it remembers; `from`: whose experience it begins with. */
  constructor(memory: number, from?: Trust) {
    this.#memory = memory;
    this.#start = from === undefined ? 1 : Math.min(MOST, Math.max(LEAST, from.factor));
  }

  /** Accepted nodes for each that was promised. */
  get factor(): number {
    return (this.#kept + PRIOR * this.#start) / (this.#promised + PRIOR);
  }

  /** What was verified, and which of its nodes were accepted; nodes that insist promise nothing. */
  observe({ chances }: Pick<DraftTree, "chances">, accepted: readonly NodeIndex[]): void {
    let promised = 0;
    for (const chance of chances) if (chance < CERTAIN) promised += chance / CERTAIN;
    const keep = Math.exp(-promised / this.#memory);
    this.#promised = keep * this.#promised + promised;
    this.#kept *= keep;
    for (const node of accepted) if (chances[node]! < CERTAIN) this.#kept++;
  }
}
