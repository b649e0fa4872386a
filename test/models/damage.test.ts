import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readBundle } from "../../gpu-worker/bundle.ts";
import { ensureBundle, inputsOf } from "../../models/bundle.ts";
import { sha256OfFile } from "../../models/cache.ts";
import { examine } from "../../models/intact.ts";
import { readSource } from "../../models/source.ts";
import { ROOT } from "../../scripts/paths.ts";

/** Compiled bundles that something has happened to, and several processes that want one at the same time. */

const kept = { ...process.env };
let whole = "";
let cache = "";
let dir = "";

beforeAll(async () => {
  whole = await mkdtemp(join(tmpdir(), "foredraft-whole-"));
  process.env.FOREDRAFT_CACHE = whole;
  await ensureBundle("tiny");
});
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "foredraft-damage-"));
  process.env.FOREDRAFT_CACHE = cache;
  dir = join(cache, "bundles", "tiny");
  await cp(join(whole, "bundles", "tiny"), dir, { recursive: true });
});
afterEach(() => rm(cache, { recursive: true, force: true }));
afterAll(async () => {
  process.env = { ...kept };
  await rm(whole, { recursive: true, force: true });
});

/** Hash by path of every file in a bundle. */
async function contents(of: string): Promise<Map<string, string>> {
  const entries = await readdir(of, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(paths.map(async (path) => [path.slice(of.length), await sha256OfFile(path)] as const)),
  );
}

const isRestored = async () => expect(await contents(dir)).toEqual(await contents(join(whole, "bundles", "tiny")));

/** As `npm run bundle` does. */
async function cli(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, ["models/cli.ts", ...args], { cwd: ROOT });
}

async function flip(path: string): Promise<void> {
  const bytes = await readFile(join(dir, path));
  bytes[bytes.length >> 1]! ^= 1;
  await writeFile(join(dir, path), bytes);
}

const DAMAGE: readonly (readonly [string, () => Promise<void>, RegExp])[] = [
  [
    "base.safetensors cut short",
    () => truncate(join(dir, "base.safetensors"), 1000),
    /base\.safetensors has 1000 bytes/,
  ],
  ["base.safetensors changed", () => flip("base.safetensors"), /base\.safetensors has another SHA-256/],
  ["heads.safetensors changed", () => flip("heads.safetensors"), /heads\.safetensors has another SHA-256/],
  ["a missing file", () => rm(join(dir, "neural.onnx")), /neural\.onnx is missing/],
  ["a changed pack", () => flip("packs/general.fdlm"), /packs\/general\.fdlm has another SHA-256/],
  ["a changed tokenizer", () => flip("tokenizer.json"), /tokenizer\.json has another SHA-256/],
  ["a manifest cut short", () => truncate(join(dir, "manifest.json"), 100), /manifest\.json has another SHA-256/],
  ["an empty manifest", () => truncate(join(dir, "manifest.json"), 0), /manifest\.json has another SHA-256/],
  ["a changed manifest", () => flip("manifest.json"), /manifest\.json has another SHA-256/],
  ["no manifest", () => rm(join(dir, "manifest.json")), /manifest\.json cannot be read/],
];

describe.each(DAMAGE)("%s", (_, damage, words) => {
  test("is named and mended where every file is hashed", async () => {
    await damage();
    const notices: string[] = [];
    expect(await ensureBundle("tiny", { thorough: true, onNotice: (line) => notices.push(line) })).toBe(dir);
    expect(notices).toEqual([expect.stringMatching(/^bundle tiny is damaged \(.*\): making it again$/)]);
    expect(notices).toEqual([expect.stringMatching(words)]);
    await isRestored();
    await readBundle(dir);
  });

  test("is mended by whatever needs the bundle, npm start among them", async () => {
    await ensureBundle("tiny");
    await damage();
    const notices: string[] = [];
    await ensureBundle("tiny", { onNotice: (line) => notices.push(line) });
    expect(notices).toEqual([expect.stringMatching(words)]);
    await isRestored();
  });
});

test("npm run bundle hashes every file, and names what it mends", async () => {
  await flip("base.safetensors");
  const { stdout, stderr } = await cli("tiny");
  expect(stdout).toBe(`${dir}\n`);
  expect(stderr).toMatch(/^bundle tiny is damaged \(base\.safetensors has another SHA-256\): making it again$/m);
  await isRestored();
});

test("a whole bundle is left alone", async () => {
  const before = await stat(join(dir, "base.safetensors"));
  expect((await cli("tiny")).stderr).toBe("");
  expect((await stat(join(dir, "base.safetensors"))).mtimeMs).toBe(before.mtimeMs);
});

test("a change that shows in no size and no time is found by npm run bundle", async () => {
  await ensureBundle("tiny");
  await flip("base.safetensors");
  const later = new Date(Date.now() + 60_000);
  await utimes(join(dir, "inputs.sha256"), later, later);
  await ensureBundle("tiny");
  await expect(readBundle(dir)).rejects.toThrow("npm run bundle -- tiny");
  await cli("tiny");
  await isRestored();
});

test("graphs and weights are hashed once, not at every start", async () => {
  await ensureBundle("tiny");
  const [inputs = ""] = (await readFile(join(dir, "inputs.sha256"), "utf8")).split("\n");
  await flip("base.safetensors");
  expect((await examine(dir, inputs, false)).damage).toHaveLength(1);
  const later = new Date(Date.now() + 60_000);
  await utimes(join(dir, "inputs.sha256"), later, later);
  expect((await examine(dir, inputs, false)).damage).toHaveLength(0);
});

test("damage that cannot be mended is named beside the reason", async () => {
  const cached = join(cache, "bundles", "smollm2-135m");
  await cp(dir, cached, { recursive: true });
  await writeFile(join(cached, "inputs.sha256"), await inputsOf(await readSource("smollm2-135m"), "int8"));
  await writeFile(join(cached, "manifest.json"), "{");
  process.env.FOREDRAFT_GGUF = join(dir, "tokenizer.json");
  await expect(ensureBundle("smollm2-135m")).rejects.toThrow(
    /^bundle smollm2-135m is damaged \(manifest\.json is malformed\) and cannot be made again: FOREDRAFT_GGUF: .*SHA-256/,
  );
  delete process.env.FOREDRAFT_GGUF;
});

test("several processes that want an absent bundle make it once", async () => {
  await rm(join(cache, "bundles"), { recursive: true });
  const runs = await Promise.all(Array.from({ length: 4 }, () => cli("tiny")));
  expect(runs.map(({ stdout }) => stdout)).toEqual(Array(4).fill(`${dir}\n`));
  expect(runs.filter(({ stderr }) => /compile 100 %/.test(stderr))).toHaveLength(1);
  await isRestored();
});

test("several that make it again at the same time do so in turn", async () => {
  await Promise.all(Array.from({ length: 8 }, () => ensureBundle("tiny", { force: true })));
  await isRestored();
  expect(await readdir(join(cache, "bundles"))).toEqual(["tiny"]);
});

test("what a killed process left of its attempt is removed", async () => {
  for (const name of [".making-tiny", ".old-tiny"]) await cp(dir, join(cache, "bundles", name), { recursive: true });
  await rm(dir, { recursive: true });
  await ensureBundle("tiny");
  await isRestored();
  expect(await readdir(join(cache, "bundles"))).toEqual(["tiny"]);
});
