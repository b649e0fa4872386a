import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadBundle } from "../../gpu-worker/load.ts";
import type { Model } from "../../gpu-worker/model.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { mergePaths } from "../../shared/draft-tree.ts";
import { expectSame, pass, piece, readAlone, type Said, step, Tables } from "../gpu-worker/texts.ts";
import { Random } from "../helpers/random.ts";
import { pathTo } from "../helpers/trees.ts";
import { SMALL, SMALL_MODELS } from "./small-models.ts";

/*
 * Small random models of every architecture (train/small_models.py) in integers. What they compute is compared with their
 * float32 graphs, which architectures.test.ts compares with transformers.
 */

const LENGTH = 100;
const TEXTS = 3;
/**
 * Root mean square of what the logits are off, relative to theirs: 0.011 to 0.041 with two blocks, 0.063 with the four of
 * smollm3, Llama among them. Models of 32 columns, whose eight bits round a good deal; of random weights, whose next
 * token is seldom clear.
 */
const MOST_OFF = 0.08;
const LEAST_AGREED = 0.88;

const kept = process.env.FOREDRAFT_CACHE;
let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-integers-"));
  process.env.FOREDRAFT_CACHE = dir;
});
afterAll(async () => {
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  await rm(dir, { recursive: true, force: true });
});

async function load(name: string, precision: "fp32" | "int8", threads: number): Promise<Model> {
  const bundle = await ensureBundle(join(SMALL, `${name}.gguf`), { precision, onNotice: () => undefined });
  return (await loadBundle(bundle, { threads, kvLimitBytes: 4 << 20, cacheDir: kept ?? ".cache" })).model;
}

function randomTexts(random: Random): number[][] {
  return Array.from({ length: TEXTS }, () => Array.from({ length: LENGTH }, () => random.int(4, 258)));
}

describe.each(SMALL_MODELS)("%s", (name) => {
  it("says in integers nearly what its graph says", async () => {
    const random = new Random(8);
    const [graph, integers] = [await load(name, "fp32", 1), await load(name, "int8", 1)];
    const [graphTables, integerTables] = [new Tables(graph, random), new Tables(integers, random)];
    let squares = 0;
    let of = 0;
    let agreed = 0;
    let rows = 0;
    for (const text of randomTexts(random)) {
      const expected = await readAlone(graph, text, graphTables.take(LENGTH));
      const actual = await readAlone(integers, text, integerTables.take(LENGTH));
      for (const [i, row] of expected.entries()) {
        for (const [token, value] of row.logits!.entries()) {
          squares += (value - actual[i]!.logits![token]!) ** 2;
          of += value ** 2;
        }
        agreed += Number(row.argmax === actual[i]!.argmax);
        rows++;
      }
    }
    expect(Math.sqrt(squares / of)).toBeLessThan(MOST_OFF);
    expect(agreed / rows).toBeGreaterThan(LEAST_AGREED);
    await Promise.all([graph.release(), integers.release()]);
  });

  // Two threads wait long for one another on a busy machine: exact.test.ts has them do much, here they meet all traits.
  it.each(name === "gemma3" ? [1, 2] : [1])(
    "gives a row the same bits whatever its pass was made up of, by %i threads",
    async (threads) => {
      const random = new Random(9);
      const model = await load(name, "int8", threads);
      const tables = new Tables(model, random);
      const texts = await Promise.all(
        randomTexts(random).map(async (tokens) => ({ tokens, pages: tables.take(LENGTH + 64) })),
      );
      const alone: Said[][] = [];
      for (const { tokens } of texts) alone.push(await readAlone(model, tokens, tables.take(LENGTH)));
      for (let at = 0, size = 1; at < LENGTH; at += size) {
        size = Math.min(random.pick([1, 3, 9, 17]), LENGTH - at);
        const rows = await pass(
          model,
          texts.map(({ tokens, pages }) => piece(pages, at, tokens.slice(at, at + size), "all")),
        );
        for (const [i, row] of rows.entries()) {
          expectSame(row, alone[Math.floor(i / size)]![at + (i % size)]!, `token ${at + (i % size)}`);
        }
        // A tree beside it that goes deeper than the windows of these models, of which nothing is kept.
        const { tokens, pages } = texts[0]!;
        const next = tokens.slice(at + size, at + size + 13);
        if (next.length < 2) continue;
        const [root, ...path] = next;
        const wrong = path.map((token) => 4 + ((token + 1) % 250));
        const draft = mergePaths([wrong, path, [...path.slice(0, 5), ...wrong]]);
        const tree = await pass(model, [step(pages, at + size, root!, draft)]);
        for (const [node] of draft.tokens.entries()) {
          const here = pathTo(draft, node);
          if (here.some((token, i) => token !== path[i])) continue;
          expectSame(tree[node + 1]!, alone[0]![at + size + here.length]!, `node ${node} after ${at + size}`);
        }
      }
      await model.release();
    },
  );
});
