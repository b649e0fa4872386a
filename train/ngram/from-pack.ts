import type { NgramModel } from "../../shared/ngram/model.ts";
import { createLevel, findChildEntry, linkChildren, type NgramTable, type TableLevel } from "./table.ts";

/** The table a pack was written from, but for quantisation: to prune or export it. */
export function tableOfPack({ shape, arrays }: NgramModel): NgramTable {
  const { childLow, childHigh, words, probs, probTable, backoffs, backoffTable } = arrays;
  const levels: TableLevel[] = [];
  let entry = 0;
  let context = 1;
  // Contexts of the order below, by number, and the entry each one is.
  let owners = new Uint32Array(1);
  let firstContext = 0;
  for (let n = 0; n < shape.order; n++) {
    const count = shape.entries[n]!;
    const own = words instanceof Uint16Array ? new Uint16Array(count) : new Uint32Array(count);
    const level = createLevel(own, new Uint32Array(n === 0 ? 0 : count), new Uint32Array(n === 0 ? 0 : count));
    for (let i = 0; i < count; i++) {
      own[i] = n === 0 ? i : words[entry + i - shape.vocabSize]!;
      level.logProbs[i] = probTable[probs[entry + i]!]!;
    }
    for (let c = 0; n > 0 && c < owners.length; c++) {
      const number = firstContext + c;
      const start = (childLow[number]! | (childHigh[number]! << 16)) - entry;
      const end = (childLow[number + 1]! | (childHigh[number + 1]! << 16)) - entry;
      level.parents.fill(owners[c]!, start, end);
    }
    if (n > 0) linkChildren(levels[n - 1]!, level.parents);
    for (let i = 0; n > 0 && i < count; i++) {
      const suffix =
        n === 1
          ? own[i]!
          : findChildEntry(levels[n - 2]!, levels[n - 1]!, levels[n - 1]!.suffixes[level.parents[i]!]!, own[i]!);
      if (suffix < 0) throw new Error(`an n-gram of order ${n + 1} lacks its suffix: not a pack of this trainer`);
      level.suffixes[i] = suffix;
    }
    if (n + 1 < shape.order) {
      firstContext = context;
      owners = new Uint32Array(shape.contexts[n + 1]!);
      for (let i = 0, at = 0; i < count; i++) {
        if (!isMarked(arrays.marks, entry + i)) continue;
        level.logBackoffs[i] = backoffTable[backoffs[context++]!]!;
        owners[at++] = i;
      }
    }
    levels.push(level);
    entry += count;
  }
  return { order: shape.order, vocabSize: shape.vocabSize, levels };
}

function isMarked(marks: Uint32Array, entry: number): boolean {
  return ((marks[3 * (entry >> 6) + 1 + ((entry >> 5) & 1)]! >>> (entry & 31)) & 1) === 1;
}

/** [order - 1] per order, [entries] probability of each entry under the model itself: for want of counts. */
export function modelHistories(table: NgramTable): Float64Array[] {
  const out: Float64Array[] = [];
  for (let n = 0; n + 1 < table.order; n++) {
    const level = table.levels[n]!;
    const before = out[n - 1];
    out.push(
      Float64Array.from(level.logProbs, (logProb, i) => Math.exp(logProb) * (before ? before[level.parents[i]!]! : 1)),
    );
  }
  return out;
}
