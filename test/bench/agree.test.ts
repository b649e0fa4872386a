import { access, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { agree } from "../../bench/commands/agree.ts";
import { cacheDir } from "../../models/cache.ts";
import { SMALL, SMALL_MODELS } from "../models/small-models.ts";

/*
 * Small random models of every architecture (train/small_models.py) beside llama.cpp on the same file, where it is at hand:
 * it is installed by the first `npm run bench -- agree`.
 */

const WINDOW = "llama.attention.sliding_window";

const entry = join(cacheDir(), "llama", "node_modules", "node-llama-cpp");
const isThere = await access(entry).then(
  () => true,
  () => false,
);

const kept = process.env.FOREDRAFT_CACHE;
let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-agree-"));
  await symlink(resolve(cacheDir(), "llama"), join(dir, "llama"));
  process.env.FOREDRAFT_CACHE = dir;
});
afterAll(async () => {
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  await rm(dir, { recursive: true, force: true });
});

/** The file; where it says "llama" and names a window, which llama.cpp does not look at, with one that changes nothing. */
async function unwindowed(name: string): Promise<string> {
  const original = join(SMALL, `${name}.gguf`);
  const bytes = await readFile(original);
  const at = bytes.indexOf(WINDOW);
  if (at < 0) return original;
  // Its type, then its value.
  bytes.writeUInt32LE(4096, at + WINDOW.length + 4);
  const path = join(dir, `wide-${name}.gguf`);
  await writeFile(path, bytes);
  return path;
}

describe.skipIf(!isThere)("llama.cpp's greedy tokens", () => {
  it.each(SMALL_MODELS)("are ours, ties excepted: %s", async (name) => {
    const { tokens, ties, faults } = await agree(await unwindowed(name), 4, 32);
    expect(faults).toEqual([]);
    expect(ties).toBeLessThan(4);
    expect(tokens).toBeGreaterThan(32);
  });
});
