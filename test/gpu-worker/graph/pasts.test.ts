import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { readBundle } from "../../../gpu-worker/bundle.ts";
import { GraphModel } from "../../../gpu-worker/graph/model.ts";
import { PageStore } from "../../../gpu-worker/graph/page-store.ts";
import type { Model } from "../../../gpu-worker/model.ts";
import { ensureBundle } from "../../../models/bundle.ts";
import { mergePaths } from "../../../shared/draft-tree.ts";
import type { BundleManifest } from "../../../shared/manifest.ts";
import { Random } from "../../helpers/random.ts";
import { pass, piece, randomText, step, Tables } from "../texts.ts";

/** A model that keeps pasts where it runs beside one whose pasts are put together anew: the same on the CPU, where both are this memory. */

let keeping: Model;
let plain: Model;
beforeAll(async () => {
  const dir = await ensureBundle("tiny", { precision: "fp32" });
  const bundle = await readBundle(dir);
  const manifest = JSON.parse(await readFile(join(dir, "manifest.json"), "utf8")) as BundleManifest;
  expect(manifest.graphs.past?.path).toBe("past.onnx");
  const load = (pastPath: string | null) =>
    GraphModel.load({ ...bundle, pastPath, provider: "cpu", threads: 1, kvBytes: 1 << 21 });
  keeping = await load(bundle.pastPath);
  plain = await load(null);
});
afterAll(() => Promise.all([keeping.release(), plain.release()]));

const bytes = ({ logits }: { logits: Float32Array | null }) => logits!.slice();

test("gives what a past put together anew gives, through trees, shared beginnings and pages that are written again", async () => {
  const anew = vi.spyOn(PageStore.prototype, "past");
  const random = new Random(7);
  let handed = 0;
  for (let round = 0; round < 6; round++) {
    // The same tables again and again: what was kept of an earlier round's pages is no longer true.
    const tables = new Tables(keeping, new Random(round % 2));
    const common = randomText(random, 32);
    const shared = tables.take(32);
    const sessions = [0, 1, 2].map(() => ({
      pages: Int32Array.of(...shared, ...tables.take(96)),
      length: 32,
      last: 5,
    }));
    const both = async (...segments: Parameters<typeof pass>[1]) => {
      const [ours, theirs] = [await pass(keeping, segments), await pass(plain, segments)];
      expect(ours.map(bytes)).toEqual(theirs.map(bytes));
      return ours;
    };
    await both(piece(sessions[0]!.pages, 0, common, "none"));
    for (let i = 0; i < 9; i++) {
      const session = random.pick(sessions);
      const paths = [randomText(random, 3), randomText(random, 2)];
      const draft = mergePaths(paths);
      const segment = step(session.pages, session.length, session.last, draft);
      const said = await both(segment);
      // The root and, now and then, a path of its children.
      const second = draft.parents.lastIndexOf(-1) + 1;
      const rows = random.chance(0.5) ? [0] : [0, second];
      keeping.keep(segment, rows);
      plain.keep(segment, rows);
      session.length += rows.length;
      session.last = said[rows.at(-1)!]!.argmax;
      handed++;
    }
  }
  // `plain` puts every past together, `keeping` those of sessions and pages that it does not know.
  expect(anew.mock.calls.length).toBeLessThan(2 * handed);
  anew.mockRestore();
});
