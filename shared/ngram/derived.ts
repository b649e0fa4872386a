import type { PackShape } from "./layout.ts";
import type { DerivedArrays, PackSections } from "./model.ts";

/** Bytes that the dense rows may take. */
const DENSE_BYTES = 4 << 20;
/** Contexts with fewer children are searched as quickly. */
const LEAST_CHILDREN = 128;

/** What lookups read together, put together: made once per load, in a few passes over the pack. */
export function derive(shape: PackShape, sections: PackSections): DerivedArrays {
  const contexts = joinContexts(shape, sections);
  return { contexts, bigrams: joinBigrams(shape, sections), ...denseRows(shape, sections.words, contexts) };
}

function joinContexts(shape: PackShape, sections: PackSections): Uint32Array {
  const { childLow, childHigh, suffixLow, suffixHigh, backoffs } = sections;
  const joined = new Uint32Array(2 * childLow.length);
  // Children are counted from the first bigram on: the empty context's, the unigrams, are not in `words`.
  for (let c = 1; c < childLow.length; c++) {
    const start = (childLow[c]! | (childHigh[c]! << 16)) - shape.vocabSize;
    joined[2 * c] = (start << 8) | (c < backoffs.length ? backoffs[c]! : 0);
    joined[2 * c + 1] = c < backoffs.length ? suffixLow[c]! | (suffixHigh[c]! << 16) : 0;
  }
  joined[0] = backoffs[0]!;
  return joined;
}

function joinBigrams(shape: PackShape, { probs, bounds }: PackSections): Uint16Array {
  const joined = new Uint16Array(bounds.length);
  for (let i = 0; i < joined.length; i++) joined[i] = probs[shape.vocabSize + i]! | (bounds[i]! << 8);
  return joined;
}

/** The one-token contexts with most children, as many as fit DENSE_BYTES, each with a row of bits over the vocabulary. */
function denseRows(shape: PackShape, words: PackSections["words"], contexts: Uint32Array) {
  const rowWords = 2 * Math.ceil(shape.vocabSize / 32);
  const last = shape.contexts[1]!;
  const start = (c: number) => contexts[2 * c]! >>> 8;
  const rowsFor = (children: number) => {
    let rows = 0;
    for (let c = 1; c <= last; c++) if (start(c + 1) - start(c) >= children) rows++;
    return rows;
  };
  let least = LEAST_CHILDREN;
  while (rowsFor(least) * rowWords * 4 > DENSE_BYTES) least *= 2;
  const denseAt = new Int32Array(last + 1).fill(-1);
  const dense = new Uint32Array(rowsFor(least) * rowWords);
  for (let c = 1, row = 0; c <= last; c++) {
    const from = start(c);
    const to = start(c + 1);
    if (to - from < least) continue;
    denseAt[c] = row;
    for (let i = from; i < to; i++) {
      const at = row + 2 * (words[i]! >>> 5);
      // The first child of a block says where the block's children start.
      if (dense[at] === 0) dense[at + 1] = i;
      dense[at]! |= 1 << (words[i]! & 31);
    }
    row += rowWords;
  }
  return { dense, denseAt };
}
