import { readFile } from "node:fs/promises";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Model } from "../../../gpu-worker/model.ts";
import { ensureBundle } from "../../../models/bundle.ts";
import { mergePaths } from "../../../shared/draft-tree.ts";
import type { BundleManifest } from "../../../shared/manifest.ts";
import { Random } from "../../helpers/random.ts";
import { BaseRunner } from "../../models/base-runner.ts";
import { loadTiny, pass, piece, randomText, type Said, step, Tables } from "../texts.ts";

/** The model over a float32 graph beside that graph run the plain way: one sequence, one cache. */

let manifest: BundleManifest;
let heads: ort.InferenceSession;
let plain: BaseRunner;
let model: Model;
beforeAll(async () => {
  const dir = await ensureBundle("tiny", { precision: "fp32" });
  manifest = JSON.parse(await readFile(join(dir, "manifest.json"), "utf8"));
  plain = await BaseRunner.open(join(dir, manifest.graphs.base.path), manifest.architecture);
  heads = await ort.InferenceSession.create(join(dir, manifest.graphs.heads!.path), { intraOpNumThreads: 1 });
  model = await loadTiny(1, "fp32");
});
afterAll(() => Promise.all([plain.close(), heads.release(), model.release()]));

/** Equal but for the order of sums in float32. */
function expectNear(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-3): void {
  expect(actual.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!));
  expect(worst).toBeLessThan(tolerance);
}

async function expectPlain(said: readonly Said[], text: readonly number[], from: number): Promise<void> {
  plain.reset();
  const { argmax, logits } = await plain.run(text);
  const { vocabSize } = manifest.architecture;
  for (const [i, row] of said.entries()) {
    const at = from + i;
    expectNear(row.logits!, logits.subarray(at * vocabSize, (at + 1) * vocabSize));
    expect(row.argmax).toBe(argmax[at]);
  }
}

test("sessions share a pass, in pieces and on pages of any order", async () => {
  const random = new Random(1);
  const tables = new Tables(model, random);
  const texts = [100, 1, 33, 64].map((length) => randomText(random, length));
  const pages = texts.map(({ length }) => tables.take(length));
  const at = texts.map(() => 0);
  while (texts.some((text, s) => at[s]! < text.length)) {
    const going = texts.flatMap((text, s) => (at[s]! < text.length && random.chance(0.8) ? [s] : []));
    const counts = going.map((s) => Math.min(texts[s]!.length - at[s]!, random.int(1, 40)));
    const segments = going.map((s, i) => piece(pages[s]!, at[s]!, texts[s]!.slice(at[s]!, at[s]! + counts[i]!), "all"));
    if (segments.length === 0) continue;
    const said = await pass(model, segments);
    for (const [i, s] of going.entries()) {
      await expectPlain(said.splice(0, counts[i]), texts[s]!, at[s]!);
      at[s]! += counts[i]!;
    }
    expect(said).toEqual([]);
  }
});

test("a tree's rows are as in their own chains, and those kept are gone on from", async () => {
  const random = new Random(2);
  const text = randomText(random, 60);
  const pages = new Tables(model, random).take(96);
  await pass(model, [piece(pages, 0, text.slice(0, 40), "none")]);
  const paths = [randomText(random, 3), text.slice(41, 45), [...text.slice(41, 43), 7, 8]];
  const draft = mergePaths(paths);
  const segment = step(pages, 40, text[40]!, draft);
  const said = await pass(model, [segment]);
  for (const path of paths) {
    let node = -1;
    const rows = path.map((token) => {
      node = draft.tokens.findIndex((other, i) => other === token && draft.parents[i] === node);
      return said[node + 1]!;
    });
    await expectPlain([said[0]!, ...rows], [...text.slice(0, 41), ...path], 40);
  }
  model.keep(segment, [0, 4, 5, 6, 7]);
  await expectPlain(await pass(model, [piece(pages, 45, text.slice(45), "all")]), text, 45);
});

test("lattices follow the rows and bonus tokens asked for, several in one call", async () => {
  const random = new Random(3);
  const tables = new Tables(model, random);
  const texts = [randomText(random, 20), randomText(random, 7)];
  await pass(
    model,
    texts.map((text) => piece(tables.take(text.length), 0, text, "all")),
  );
  // The second text's last row, the first's tenth.
  const requests = [
    { row: 26, bonus: 100, text: texts[1]!, at: 6 },
    { row: 9, bonus: 7, text: texts[0]!, at: 9 },
  ];
  const lattices = await model.heads(requests);
  for (const [i, { text, at, bonus }] of requests.entries()) {
    plain.reset();
    const { hidden } = await plain.run(text, undefined, undefined, [at]);
    const expected = await heads.run({
      hidden: new ort.Tensor("float32", hidden, [1, hidden.length]),
      bonus: new ort.Tensor("int32", Int32Array.of(bonus), [1]),
    });
    const { lattice, gate } = lattices[i]!;
    expect([lattice.heads, lattice.k]).toEqual([manifest.latticeHeads, manifest.topK]);
    expectNear(lattice.logProbs, expected.log_probs!.data as Float32Array);
    expect([...lattice.tokens.subarray(0, 1)]).toEqual([...(expected.tokens!.data as Int32Array).subarray(0, 1)]);
    expect(gate === null).toBe(manifest.copyHeads === null);
    if (gate !== null) expectNear(gate, expected.gate!.data as Float32Array);
  }
});
