import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HeadsOutput, Model, Segment } from "../../../gpu-worker/model.ts";
import { type DraftTree, mergePaths, treeOf } from "../../../shared/draft-tree.ts";
import { Random } from "../../helpers/random.ts";
import { pathTo, randomTree } from "../../helpers/trees.ts";
import { expectSame, loadTiny, pass, piece, randomText, readAlone, type Said, step, Tables } from "../texts.ts";

/*
 * A row of the integer model is the same bits whatever its pass was made up of: speculative text is plain text because
 * of this and of nothing else. Every comparison here is with a text that was run alone, at once and by one thread.
 */

/** More than a span of the kernel's sums over values (512 tokens), and no multiple of anything. */
const LENGTH = 677;

interface Text {
  readonly tokens: readonly number[];
  /** After each of them. */
  readonly said: readonly Said[];
}

let texts: Text[];
beforeAll(async () => {
  const model = await loadTiny(1);
  const random = new Random(1);
  const tables = new Tables(model, random);
  texts = [];
  for (const length of [LENGTH, 1, 16, 17, 150, 333]) {
    const tokens = randomText(random, length);
    texts.push({ tokens, said: await readAlone(model, tokens, tables.take(length)) });
  }
  await model.release();
});

test("what the model says differs from row to row", () => {
  const { said } = texts[0]!;
  expect(new Set(said.map(({ logits }) => logits!.join())).size).toBe(LENGTH);
  expect(said.every(({ argmax, logits }) => argmax === logits!.indexOf(Math.max(...logits!)))).toBe(true);
});

let firstLattices: HeadsOutput[] | undefined;

describe.each([1, 2, 3])("by %i threads", (threads) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadTiny(threads);
  });
  afterAll(() => model.release());

  test.each([1, 3, 8, 9, 16, 31, 100, 512])(
    "a row is the same bits in pieces of %i, wherever its past lies",
    async (size) => {
      const { tokens, said } = texts[0]!;
      const pages = new Tables(model, new Random(size)).take(LENGTH);
      // A few at a time, the end is enough of it: it reads all that was written before. Threads that wait for one another are slow.
      const first = size > 3 ? 0 : threads === 1 ? 300 : 500;
      if (first > 0) await pass(model, [piece(pages, 0, tokens.slice(0, first), "none")]);
      for (let at = first; at < LENGTH; at += size) {
        const rows = await pass(model, [piece(pages, at, tokens.slice(at, at + size), "all")]);
        for (const [i, row] of rows.entries()) expectSame(row, said[at + i]!, `token ${at + i}`);
      }
    },
  );

  test("a row is the same bits in passes with other sessions, in pieces and in trees of any size", async () => {
    const random = new Random(7);
    const tables = new Tables(model, random);
    const sessions = [...texts, ...texts].map((text) => new Reader(text, tables.take(text.tokens.length + 64)));
    for (let passes = 0; sessions.some(({ left }) => left > 0); passes++) {
      const going = sessions.filter(({ left }) => left > 0 && random.chance(0.7));
      const turns: Turn[] = [];
      let room = model.maxRows;
      for (const session of going) {
        const turn = session.turn(random, room);
        if (turn === null) continue;
        room -= turn.segment.tokens.length;
        turns.push(turn);
      }
      if (turns.length === 0) continue;
      const rows = await pass(
        model,
        turns.map(({ segment }) => segment),
      );
      for (const turn of turns) turn.take(rows, `pass ${passes}`, model);
      expect(rows).toEqual([]);
    }
  });

  test.each([1, 15, 16, 100, 509, 560])(
    "a row is the same bits in a tree after %i tokens as in the chain that leads to it",
    async (length) => {
      const random = new Random(length);
      const tables = new Tables(model, random);
      const { tokens } = texts[0]!;
      const root = tokens[length]!;
      for (const nodes of [3, 20, 63]) {
        const tree = bigTree(random, nodes);
        const pages = tables.take(length + 64);
        for (let at = 0; at < length; at += 512) {
          await pass(model, [piece(pages, at, tokens.slice(at, Math.min(at + 512, length)), "none")]);
        }
        const rows = await pass(model, [step(pages, length, root, tree)]);
        expectSame(rows[0]!, texts[0]!.said[length]!, "the root");
        for (const node of leavesOf(tree)) {
          const path = pathTo(tree, node);
          // The tokens before are where the tree left them; the path takes the tree's own place.
          const alone = await pass(model, [piece(pages, length, [root, ...path], "all")]);
          let at = node;
          for (let i = path.length; i > 0; i--) {
            expectSame(rows[at + 1]!, alone[i]!, `node ${at} of ${nodes}`);
            at = tree.parents[at]!;
          }
        }
      }
    },
  );

  test("a lattice is the same whatever the pass, and whichever others are made with it", async () => {
    const tables = new Tables(model, new Random(3));
    const requests = texts.map((_, row) => ({ row, bonus: 100 + row }));
    const together = texts.map(({ tokens }) => piece(tables.take(tokens.length), 0, tokens.slice(0, 80), "last"));
    await pass(model, together);
    const lattices = await model.heads(requests);
    expect(lattices).toEqual((firstLattices ??= lattices));
    expect(lattices.every(({ lattice }) => lattice.heads === model.shape.latticeHeads)).toBe(true);
    for (const [i, request] of requests.entries()) {
      expect(await model.heads([request])).toEqual([lattices[i]]);
      await pass(model, [together[i]!]);
      expect(await model.heads([{ ...request, row: 0 }])).toEqual([lattices[i]]);
      await pass(model, together);
    }
  });

  test("a lattice is the same among more sessions than the heads take at once", async () => {
    const { tokens } = texts[0]!;
    await pass(model, [piece(new Tables(model, new Random(4)).take(70), 0, tokens.slice(0, 70), "all")]);
    const requests = Array.from({ length: 70 }, (_, row) => ({ row, bonus: 2000 - row }));
    const lattices = await model.heads(requests);
    expect(new Set(lattices.map(({ lattice }) => lattice.logProbs.join())).size).toBe(70);
    for (const row of [0, 63, 64, 69]) expect(await model.heads([requests[row]!])).toEqual([lattices[row]]);
    expect((await model.heads(requests.toReversed())).reverse()).toEqual(lattices);
  });
});

/** A tree of `nodes` nodes, deep and wide. */
function bigTree(random: Random, nodes: number): DraftTree {
  const tokens: number[] = [];
  const parents: number[] = [];
  for (let i = 0; i < nodes; i++) {
    tokens.push(i * 31 + 5);
    parents.push(random.chance(0.5) ? i - 1 : random.int(-1, i - 1));
  }
  return treeOf(tokens, parents);
}

function leavesOf(tree: DraftTree): number[] {
  return [...tree.tokens.keys()].filter((node) => !tree.parents.includes(node));
}

/** What one session does in a pass. */
interface Turn {
  readonly segment: Segment;
  /** Takes its rows off the pass's, compares them, and keeps what belongs to its text. */
  take(rows: Said[], what: string, model: Model): void;
}

/** A session that reads a text, in pieces and in trees among whose branches the text is. */
class Reader {
  readonly #text: Text;
  readonly #pages: Int32Array;
  #length = 0;

  constructor(text: Text, pages: Int32Array) {
    this.#text = text;
    this.#pages = pages;
  }

  get left(): number {
    return this.#text.tokens.length - this.#length;
  }

  /** null: there is no room for it. */
  turn(random: Random, room: number): Turn | null {
    return random.chance(0.5) ? this.#piece(random, room) : this.#tree(random, room);
  }

  #piece(random: Random, room: number): Turn | null {
    const count = Math.min(this.left, room, random.int(1, 60));
    if (count === 0) return null;
    const from = this.#length;
    const wanted = random.pick(["none", "last", "all"] as const);
    const segment = {
      ...piece(this.#pages, from, this.#text.tokens.slice(from, from + count), wanted),
      logits: random.chance(0.8),
    };
    return {
      segment,
      take: (rows, what) => {
        this.#length += count;
        const own = rows.splice(0, wanted === "all" ? count : wanted === "last" ? 1 : 0);
        for (const [i, row] of own.entries()) {
          this.#compare(row, this.#length - own.length + i, `${what}, a piece`);
        }
      },
    };
  }

  #tree(random: Random, room: number): Turn | null {
    const [root, ...next] = this.#text.tokens.slice(this.#length, this.#length + random.int(1, 9));
    const draft = mergePaths([
      ...Array.from({ length: random.int(0, 3) }, () => randomText(random, random.int(1, 6))),
      next,
      [...next.slice(0, 2), 2047, 2046],
      [...next.slice(0, 1), ...randomTree(random, 9, 2000).tokens],
    ]);
    if (draft.tokens.length + 1 > room) return null;
    return {
      segment: step(this.#pages, this.#length, root!, draft),
      take: (rows, what, model) => {
        const own = rows.splice(0, draft.tokens.length + 1);
        const path = [0, ...next.map((_, i) => nodeOf(draft, next.slice(0, i + 1)) + 1)];
        for (const [i, row] of path.entries()) this.#compare(own[row]!, this.#length + i, `${what}, a tree`);
        model.keep(step(this.#pages, this.#length, root!, draft), path);
        this.#length += path.length;
      },
    };
  }

  #compare(row: Said, at: number, what: string): void {
    expectSame(row, this.#text.said[at]!, `${what}, token ${at}`);
  }
}

/** The node at the end of a path from the root. */
function nodeOf(draft: DraftTree, path: readonly number[]): number {
  return [...draft.tokens.keys()].find((node) => pathTo(draft, node).join() === path.join())!;
}
