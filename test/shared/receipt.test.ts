import { expect, test } from "vitest";
import type { CommittedToken } from "../../shared/decode/advance.ts";
import type { Block } from "../../shared/decode/block.ts";
import { ReceiptBook } from "../../shared/decode/receipt.ts";
import { chain, SOURCES, treeOf } from "../../shared/draft-tree.ts";
import { createLattice, type Lattice } from "../../shared/lattice.ts";
import { Random } from "../helpers/random.ts";

const TIMING = { queueMs: 0, modelMs: 0, engineMs: 0 };

/** Two candidates per column. */
function latticeOf(...columns: (readonly [number, number])[]): Lattice {
  return createLattice(columns.length, 2, Uint32Array.from(columns.flat()), new Float32Array(2 * columns.length));
}

function blockOf(call: number, tokens: readonly number[], verified: Block["verified"]): Block {
  const committed = tokens.map((token, i): CommittedToken => {
    return { token, kind: i < tokens.length - 1 ? "accepted" : "bonus", logProbs: null };
  });
  return { call, committed, drafted: 0, verified, cachedTokens: 0, finish: null, timing: TIMING };
}

test("a receipt tells what every step would have committed, and where its tokens came from", () => {
  const book = new ReceiptBook();
  book.record(blockOf(0, [1], null));
  // The answer goes on 2, 3, 4, 5, 6, 7: unrefined this lattice leads to 2, at best to 2, 3, 4.
  const first = latticeOf([2, 9], [8, 3], [4, 9]);
  const tree = treeOf([2, 3, 5], [-1, 0, 1], undefined, Uint8Array.of(0, 0, SOURCES.indexOf("prompt")));
  book.record(blockOf(1, [2, 3, 4], { tree, accepted: [0, 1], lattice: first }));
  // Here not one head is right, and a copy is.
  const copied = treeOf([5, 6], [-1, 0], undefined, Uint8Array.of(1, 2));
  book.record(blockOf(2, [5, 6, 7], { tree: copied, accepted: [0, 1], lattice: latticeOf([8, 9], [6, 9]) }));
  const { receipt, steps } = book.close();
  expect(steps).toEqual([
    { unrefined: 2, refined: 3, best: 4 },
    { unrefined: 1, refined: 3, best: 1 },
  ]);
  expect(receipt).toMatchObject({ steps: 2, unrefined: 3, refined: 6, best: 5 });
  expect(receipt.tokens).toEqual({ heads: 1, reranked: 1, prompt: 1, recycled: 1, grammar: 0, bonus: 2 });
});

test("what lies behind the end of the answer counts for nothing", () => {
  const book = new ReceiptBook();
  book.record(blockOf(0, [1], null));
  const lattice = latticeOf([2, 9], [3, 9], [4, 9]);
  book.record(blockOf(1, [2, 3, 4], { tree: chain([2, 3]), accepted: [0, 1], lattice }), 2);
  expect(book.close().steps).toEqual([{ unrefined: 2, refined: 2, best: 2 }]);
});

test("a receipt does not depend on when the rest of the answer comes", () => {
  const random = new Random(3);
  for (let round = 0; round < 50; round++) {
    const answer = Array.from({ length: 30 }, () => random.int(0, 2));
    const book = new ReceiptBook();
    book.record(blockOf(0, answer.slice(0, 1), null));
    const expected = [];
    for (let at = 1, index = 1; at < answer.length; index++) {
      const taken = Math.min(random.int(1, 3), answer.length - at);
      const lattice = latticeOf(
        ...Array.from({ length: 4 }, () => [random.int(0, 2), random.int(0, 2)] as [number, number]),
      );
      const tokens = answer.slice(at, at + taken);
      book.record(blockOf(index, tokens, { tree: chain(tokens), accepted: tokens.map((_, i) => i), lattice }));
      const reach = (fits: (token: number, row: number) => boolean) => {
        const rows = answer.slice(at, at + 4).findIndex((token, row) => !fits(token, row));
        const right = rows < 0 ? Math.min(4, answer.length - at) : rows;
        return Math.min(right + 1, answer.length - at);
      };
      expected.push({
        unrefined: reach((token, row) => lattice.tokens[2 * row] === token),
        refined: taken,
        best: reach((token, row) => lattice.tokens.subarray(2 * row, 2 * row + 2).includes(token)),
      });
      at += taken;
    }
    expect(book.close().steps).toEqual(expected);
  }
});
