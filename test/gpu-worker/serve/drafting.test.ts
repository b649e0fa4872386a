import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { Drafting } from "../../../gpu-worker/serve/drafting.ts";
import type { RescorerSpec } from "../../../shared/rescore/index.ts";
import { createRescorer } from "../../../shared/rescore/index.ts";
import { manifestOf, sha256 } from "../../edge/fixture.ts";
import { Random } from "../../helpers/random.ts";
import { randomCalibration, randomLattice } from "../../rescore/helpers.ts";
import { toyPairs, toyQuery, withQuery } from "../../rescore/toy-pairs.ts";

const vocabSize = 40;
const random = new Random(5);
const { bytes, tables } = toyPairs(random, vocabSize);
const calibration = randomCalibration(() => random.unit());
const PAIR: RescorerSpec = { type: "pair", alpha: 1, pBest: 2 };
const TREE = { type: "tree", order: 2, alpha: 0, prompt: true, pair: true } as const;

const dirs: string[] = [];
afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

/** Drafting beside a bundle with tables of pairs, or without. */
async function beside(hash: string | null, evidence = Object.entries(calibration.weights)): Promise<Drafting> {
  const dir = await mkdtemp(join(tmpdir(), "foredraft-drafting-"));
  dirs.push(dir);
  const pair = hash === null ? null : { path: "pair.safetensors", bytes: bytes.length, sha256: hash };
  const weights = Object.fromEntries(evidence);
  const manifest = manifestOf("toy", {
    graphs: { ...manifestOf("toy").graphs, pair },
    calibration: { ...calibration, weights },
  });
  await writeFile(join(dir, "manifest.json"), JSON.stringify(manifest));
  await writeFile(join(dir, "pair.safetensors"), bytes);
  return await Drafting.of(dir);
}

const asked = (rescorer: RescorerSpec) => ({ rescorer, pack: null });

describe("drafting beside the model with tables of pairs", () => {
  test.each([PAIR, TREE])("gives what the edge drafts: %j", async (spec) => {
    const drafting = await beside(sha256(bytes));
    const there = await drafting.rescorer(asked(spec));
    const here = createRescorer(spec, null, calibration, null, tables);
    for (let i = 0; i < 10; i++) {
      const bare = randomLattice(() => random.unit(), { heads: 4, k: 6, vocabSize, step: 0.5 });
      const lattice = withQuery(bare, toyQuery(random));
      const tokens = [random.int(0, 5), random.int(0, 5)];
      for (const one of [there, here]) one.commit(tokens);
      expect(there.draft(lattice, 20)).toEqual(here.draft(lattice, 20));
    }
  });

  test.each([PAIR, TREE])("refuses %j where the bundle has none, or its file has changed", async (spec) => {
    const unsupported = { code: "unsupported", message: expect.stringContaining("table of pairs") };
    for (const hash of [null, "00".repeat(32)]) {
      const drafting = await beside(hash);
      for (let i = 0; i < 2; i++) await expect(drafting.rescorer(asked(spec))).rejects.toMatchObject(unsupported);
    }
    await expect((await beside(null)).rescorer(asked({ ...TREE, pair: false }))).resolves.toBeDefined();
  });

  test("refuses a tree with pairs that its calibration does not know", async () => {
    const unpaired = Object.entries(calibration.weights).filter(([evidence]) => !evidence.includes("pair"));
    const drafting = await beside(sha256(bytes), unpaired);
    await expect(drafting.rescorer(asked(TREE))).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("calibration for heads+prompt+pair"),
    });
  });
});
