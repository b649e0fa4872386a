import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readBundle } from "../../gpu-worker/bundle.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { sha256OfFile } from "../../models/cache.ts";
import { comparePacks } from "../../scripts/compare-packs.ts";
import { bundleWithPack, type PackedBundle, promptsOf } from "../../scripts/own-pack.ts";
import { startStack } from "../../scripts/stack.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { SEPARATOR } from "../../train/ngram/token-file.ts";

/** A pack of the user's own text (npm start -- --pack), with the committed toy model. */

const SENTENCES = ["The dog ran to the sea.", "A bird sang in the old tree.", "The cat sat by the door and slept."];
const TEXT = Array.from({ length: 300 }, (_, i) => SENTENCES[(i * i) % 3]).join(" ");

let dir: string;
let bundleDir: string;
let packed: PackedBundle;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-pack-"));
  bundleDir = await ensureBundle("tiny");
  await writeFile(join(dir, "My stories.txt"), TEXT);
  packed = await bundleWithPack(bundleDir, join(dir, "My stories.txt"), () => undefined);
});
afterAll(async () => {
  await rm(join(packed.dir, ".."), { recursive: true, force: true });
  await rm(dir, { recursive: true, force: true });
});

const manifestOf = async (at: string) =>
  JSON.parse(await readFile(join(at, "manifest.json"), "utf8")) as BundleManifest;

test("the bundle is the same but for the pack, which drafts by default; nothing is compiled", async () => {
  const [before, after] = [await manifestOf(bundleDir), await manifestOf(packed.dir)];
  expect(packed.pack.name).toBe("My-stories");
  expect(after.packs).toEqual([...before.packs, packed.pack]);
  expect(after.defaults.rescorer).toEqual({ ...before.defaults.rescorer, model: "My-stories", order: 4 });
  expect({ ...after, packs: [], defaults: null }).toEqual({ ...before, packs: [], defaults: null });
  expect(await sha256OfFile(join(packed.dir, packed.pack.path))).toBe(packed.pack.sha256);
  const [weights, same] = [bundleDir, packed.dir].map((at) => stat(join(at, before.graphs.base.path)));
  expect((await same)!.ino).toBe((await weights)!.ino);
  expect((await readBundle(packed.dir)).name).toBe("tiny");
  expect(packed.other).toBe(before.defaults.rescorer.model);
  // It has learned something of the text's end, which it has not seen.
  expect(packed.perplexity.perplexity).toBeLessThan(20);
});

test("is made once", async () => {
  const made = (await stat(join(packed.dir, "manifest.json"))).mtimeMs;
  const again = await bundleWithPack(bundleDir, join(dir, "My stories.txt"), () => undefined);
  expect(again.dir).toBe(packed.dir);
  expect((await stat(join(again.dir, "manifest.json"))).mtimeMs).toBe(made);
});

test("serves, and is compared with what the model has of its own", async () => {
  const stack = await startStack({
    bundle: "tiny",
    bundleDir: packed.dir,
    assetsDir: join(dir, "assets"),
    threads: 1,
    signal: AbortSignal.timeout(60_000),
  });
  try {
    const models = await (await fetch(`${stack.edge.url}/v1/models`)).text();
    expect(models).toContain("My-stories");
    const kinds = ["My-stories", packed.other!, null];
    const { signal } = new AbortController();
    const results = await comparePacks(stack.edge.url, "tiny", kinds, packed.heldOut, signal);
    expect(results.map(({ kind }) => kind)).toEqual(["My-stories", packed.other, "none"]);
    for (const { blockEfficiency } of results) expect(blockEfficiency).toBeGreaterThanOrEqual(1);
  } finally {
    await stack.close();
  }
});

test("prompts come from all over the text, and end where a document does", () => {
  const first = [...Array(58).keys()];
  const tokens = Uint16Array.from([...first, SEPARATOR, ...Array(41).keys()]);
  expect(promptsOf(tokens, 2, 10)).toEqual([first.slice(0, 10), first.slice(50)]);
});

test.each([
  ["nothing.txt", null, "no such file"],
  ["short.txt", "A few words.", "at least 1000"],
])("%s is refused", async (name, text, message) => {
  if (text !== null) await writeFile(join(dir, name), text);
  await expect(bundleWithPack(bundleDir, join(dir, name), () => undefined)).rejects.toThrow(message);
});
