import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTokenizer } from "../../edge/text/tokenizer.ts";
import { readBundle } from "../../gpu-worker/bundle.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { GgufFile, toFloats } from "../../models/gguf.ts";
import { readLlama } from "../../models/llama.ts";
import { lastTokens, rebuildTokenizer } from "../../models/tokenizer.ts";
import { Random } from "../helpers/random.ts";

/** More of them by hand: FOREDRAFT_FUZZ_FILES=100000 npm test -- test/models/fuzz.test.ts */
const FILES = Number(process.env.FOREDRAFT_FUZZ_FILES ?? 1000);
/** What a file of a hundred kilobytes may make the program hold. */
const MOST_BYTES = 256 << 20;
const HERE = import.meta.dirname;
const SEEDS = ["small/llama", "small/gemma2", "small/qwen2", "small/phi3", "tokenizers/llama-bpe", "tokenizers/gemma"];

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-fuzz-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Numbers that sizes, counts, offsets and types go wrong with. */
const NUMBERS = [0n, 1n, 8n, 9n, 255n, 65_535n, 1n << 20n, 1n << 31n, (1n << 32n) - 1n, 1n << 53n, (1n << 64n) - 1n];

/** A damaged copy: mostly in its header, where the sizes are. */
function damaged(file: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(file);
  const header = Math.min(bytes.length, 24_000);
  const place = () => (random.chance(0.3) ? random.int(0, 400) : random.int(0, header - 16));
  for (let i = random.int(1, 4); i > 0; i--) {
    const kind = random.int(0, 4);
    if (kind === 0) bytes = bytes.subarray(0, random.int(0, bytes.length - 1));
    else if (bytes.length < 64) return bytes;
    else if (kind === 1) bytes[place() % bytes.length] = random.int(0, 255);
    else if (kind === 2) bytes.writeBigUInt64LE(random.pick(NUMBERS), place() % (bytes.length - 8));
    else if (kind === 3) bytes.copyWithin(place() % bytes.length, place() % bytes.length, place() % bytes.length);
    else bytes.writeUInt32LE(Number(random.pick(NUMBERS) & 0xffffffffn), place() % (bytes.length - 8));
  }
  return bytes;
}

/** All that compiling reads of a file. */
async function readAll(path: string): Promise<void> {
  const file = await GgufFile.open(path);
  const tokenizer = await rebuildTokenizer(file);
  lastTokens(file);
  createTokenizer(new TextEncoder().encode(tokenizer));
  const llama = await readLlama(file);
  toFloats(await llama.embedding());
  await llama.outputNorm();
  await llama.output();
  for (let i = 0; i < llama.config.layers; i++) toFloats((await llama.layer(i)).down);
  llama.assertComplete();
}

it(`answers ${FILES} damaged GGUF files with an error that names the file, or reads them`, async () => {
  const random = new Random(14);
  const seeds = await Promise.all(SEEDS.map((name) => readFile(join(HERE, `${name}.gguf`))));
  const path = join(dir, "damaged.gguf");
  const before = process.memoryUsage();
  let refused = 0;
  let most = 0;
  for (let i = 0; i < FILES; i++) {
    await writeFile(path, damaged(random.pick(seeds), random));
    const error = await readAll(path).then(
      () => null,
      (reason: Error) => reason,
    );
    if (error !== null) {
      refused++;
      expect(error.message, `file ${i}`).toMatch(/damaged\.gguf|tokenizer\.json/);
      expect(error.name, `file ${i}: ${error.message}`).toBe("Error");
    }
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    most = Math.max(most, heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers);
  }
  expect(refused).toBeGreaterThan(FILES / 3);
  expect(most).toBeLessThan(MOST_BYTES);
}, 3_600_000);

it(`answers ${FILES / 5} damaged manifests with an error that says what to do, or reads them`, async () => {
  const random = new Random(15);
  const bundle = await ensureBundle("tiny");
  const whole = await readFile(join(bundle, "manifest.json"));
  const copy = join(dir, "tiny");
  await cp(bundle, copy, { recursive: true });
  for (let i = 0; i < FILES / 5; i++) {
    await writeFile(join(copy, "manifest.json"), damaged(whole, random));
    const error = await readBundle(copy).then(
      () => null,
      (reason: Error) => reason,
    );
    if (error !== null) expect(error.message, `file ${i}`).toMatch(/npm run bundle/);
  }
}, 3_600_000);
