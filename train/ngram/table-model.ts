import type { NgramTable } from "./table.ts";
import { findChildEntry } from "./table.ts";

/** What a model must offer to be measured: the pack's and the table's do. */
export interface Scorer {
  readonly order: number;
  /** State after the last scored token; 0 is the empty history. */
  readonly next: number;
  /** Order of the n-gram that gave the last score. */
  readonly matched: number;
  /** log p(token | state), natural log. */
  score(state: number, token: number): number;
}

/** An unquantised table as a model, of any size: what an estimate is worth before a pack rounds it. */
export class TableModel implements Scorer {
  readonly order: number;
  next = 0;
  matched = 0;
  private readonly table: NgramTable;
  /** [order - 1] state of the first entry of each order: the entry of a history is its state. */
  private readonly firstState: readonly number[];

  constructor(table: NgramTable) {
    this.table = table;
    this.order = table.order;
    let first = 1;
    this.firstState = table.levels.slice(0, -1).map((level) => {
      const state = first;
      first += level.count;
      return state;
    });
  }

  score(state: number, token: number): number {
    const { levels } = this.table;
    let length = this.lengthOf(state);
    let entry = length === 0 ? -1 : state - this.firstState[length - 1]!;
    let backoff = 0;
    let found = token;
    for (; length > 0; length--) {
      found = findChildEntry(levels[length - 1]!, levels[length]!, entry, token);
      if (found >= 0) break;
      backoff += levels[length - 1]!.logBackoffs[entry]!;
      entry = length > 1 ? levels[length - 1]!.suffixes[entry]! : -1;
    }
    if (length === 0) found = token;
    this.matched = length + 1;
    const logProb = backoff + levels[length]!.logProbs[found]!;
    if (length + 1 === this.order) this.next = this.stateOf(length - 1, levels[length]!.suffixes[found]!);
    else this.next = this.stateOf(length, found);
    return logProb;
  }

  private lengthOf(state: number): number {
    let length = 0;
    while (length < this.firstState.length && state >= this.firstState[length]!) length++;
    return length;
  }

  private stateOf(level: number, entry: number): number {
    return this.firstState[level]! + entry;
  }
}
