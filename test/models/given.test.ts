import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { complete, NO_PARTS } from "../../bench/eval/complete.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { sha256 } from "../../models/cache.ts";
import { integerFault } from "../../models/compile/integer.ts";
import { GgufFile } from "../../models/gguf.ts";
import { readLlama } from "../../models/llama.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { SMALL, SMALL_MODELS } from "./small-models.ts";

const kept = { cache: process.env.FOREDRAFT_CACHE, hub: process.env.FOREDRAFT_HUB };

let dir = "";
let server: Server;
/** What the hub's stand-in has, by path, and what was asked of it. */
const hub = new Map<string, Buffer>();
const asked: string[] = [];
let tag: string | null = null;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-given-"));
  server = createServer(({ method, url = "" }, response) => {
    asked.push(`${method} ${url}`);
    const file = hub.get(url);
    if (file === undefined) return response.writeHead(404).end();
    response.writeHead(200, {
      "content-length": file.length,
      ...(tag === null ? {} : { "x-linked-etag": `"${tag}"` }),
    });
    return response.end(method === "HEAD" ? undefined : file);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  process.env.FOREDRAFT_CACHE = join(dir, "cache");
  process.env.FOREDRAFT_HUB = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(async () => {
  server.close();
  for (const [name, value] of [
    ["FOREDRAFT_CACHE", kept.cache],
    ["FOREDRAFT_HUB", kept.hub],
  ] as const) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  await rm(dir, { recursive: true, force: true });
});

const manifestOf = async (bundle: string) =>
  JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
const quiet = { onNotice: () => undefined };

/** A copy of a small model with a run of its bytes replaced by others of the same number. */
async function altered(model: string, from: string, to: string): Promise<string> {
  const path = join(dir, `altered-${model}.gguf`);
  const bytes = await readFile(join(SMALL, `${model}.gguf`));
  const at = bytes.indexOf(from);
  expect(at).toBeGreaterThan(0);
  expect(to.length).toBe(from.length);
  bytes.write(to, at);
  await writeFile(path, bytes);
  return path;
}

describe.each(SMALL_MODELS)("a GGUF file without heads, %s", (name) => {
  it("is served with the drafts that need none, and they change nothing", async () => {
    const notices: string[] = [];
    const bundle = await ensureBundle(join(SMALL, `${name}.gguf`), { onNotice: (line) => notices.push(line) });
    const manifest = await manifestOf(bundle);
    expect(manifest).toMatchObject({ name, latticeHeads: 0, graphs: { heads: null, neural: null } });
    expect(basename(bundle)).toBe(name);
    expect(manifest.precision).toBe("int8");
    expect(notices).toEqual([]);
    const engine = await createInProcessEngine(bundle, { kvLimitBytes: 16 << 20, threads: 1 });
    const phrase = [40, 71, 90, 33, 120, 77];
    const prompt = Uint32Array.from([...phrase, 50, ...phrase, 60, ...phrase]);
    const task = { engine, model: name, prompt, limits: { maxTokens: 24, eosTokens: [] }, autoNodes: false };
    const run = (method: string) =>
      complete(task, parseMethod(method, manifest, { alpha: null, pack: null, heads: null, topK: null }), NO_PARTS, []);
    const plain = await run("ar");
    expect(manifest.defaults.rescorer).toMatchObject({ type: "tree", alpha: 0, prompt: true });
    for (const method of ["tree-16", "ngram-4-prompt", "ngram-4-4best-prompt"]) {
      const drafted = await run(method);
      expect(drafted.output, method).toEqual(plain.output);
      expect(drafted.counters.draftedTokens, method).toBeGreaterThan(0);
    }
    await engine.close();
  });
});

describe("a file that cannot be served", () => {
  it.each<[string, () => Promise<string>, RegExp]>([
    ["is missing", async () => join(dir, "nothing.gguf"), /there is no file .*nothing\.gguf/],
    [
      "is of another kind",
      () => altered("phi3", "phi3", "phi9"),
      /general\.architecture phi9 is not supported; .*llama/,
    ],
    ["lacks a key", () => altered("qwen3", "block_count", "block_c0unt"), /metadata qwen3\.block_count is missing/],
    [
      "lacks a tensor",
      () => altered("qwen2", "blk.0.attn_q.bias", "blk.0.attn_z.bias"),
      /no tensor named blk\.0\.attn_q\.bias/,
    ],
    [
      "has one too many",
      () => altered("llama", "\x0d\0\0\0\0\0\0\0output.weight", "\x0d\0\0\0\0\0\0\0outpux.weight"),
      /no use for outpux\.weight/,
    ],
    [
      "has another tokenizer",
      () =>
        altered(
          "gemma2",
          "tokenizer.ggml.model\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
          "tokenizer.ggml.model\x08\0\0\0\x05\0\0\0\0\0\0\0t5---",
        ),
      /tokenizer\.ggml\.model t5--- is not supported/,
    ],
  ])("says so where it %s", async (what, make, words) => {
    const stages: string[] = [];
    const onProgress = (stage: string) => void stages.push(stage);
    await expect(ensureBundle(await make(), { ...quiet, onProgress })).rejects.toThrow(words);
    // A large file takes minutes to compile; its tokenizer comes first there.
    if (what !== "has another tokenizer") expect(stages, "before anything is compiled").toEqual([]);
  });

  it("does not take integers for sizes that the kernel cannot do", async () => {
    const { config } = await readLlama(await GgufFile.open(join(SMALL, "gemma2.gguf")));
    expect(integerFault(config)).toBeNull();
    expect(integerFault({ ...config, vocabSize: 32_001 })).toMatch(/vocabSize .* multiple of 4, not 32001/);
  });
});

it("makes it anew when the file changes, and only then", async () => {
  const path = join(dir, "Some Model_Q4.GGUF");
  await copyFile(join(SMALL, "llama.gguf"), path);
  const bundle = await ensureBundle(path, quiet);
  expect(basename(bundle)).toBe("some-model-q4");
  const before = await readFile(join(bundle, "inputs.sha256"), "utf8");
  await ensureBundle(path, quiet);
  expect(await readFile(join(bundle, "inputs.sha256"), "utf8")).toBe(before);
  await copyFile(join(SMALL, "llama3.gguf"), path);
  await ensureBundle(path, quiet);
  expect(await readFile(join(bundle, "inputs.sha256"), "utf8")).not.toBe(before);
});

it("does not take the name of a committed bundle", async () => {
  const path = join(dir, "tiny.gguf");
  await copyFile(join(SMALL, "llama.gguf"), path);
  expect(basename(await ensureBundle(path, quiet))).toBe("tiny-gguf");
});

describe("hf:OWNER/REPO/FILE.gguf", () => {
  it("is fetched once", async () => {
    hub.set("/some/repo-GGUF/resolve/main/a.gguf", await readFile(join(SMALL, "llama.gguf")));
    const bundle = await ensureBundle("hf:some/repo-GGUF/a.gguf", quiet);
    expect((await manifestOf(bundle)).name).toBe("a");
    const times = asked.length;
    await ensureBundle("hf:some/repo-GGUF/a.gguf", quiet);
    expect(asked.length).toBe(times);
  });

  it("is checked against the hash that the hub names", async () => {
    const file = await readFile(join(SMALL, "llama3.gguf"));
    hub.set("/some/repo/resolve/main/deep/b.gguf", file);
    tag = sha256("something else");
    await expect(ensureBundle("hf:some/repo/deep/b.gguf", quiet)).rejects.toThrow(/not the file that was announced/);
    tag = sha256(file);
    await ensureBundle("hf:some/repo/deep/b.gguf", quiet);
    tag = null;
  });

  it.each([
    ["hf:some/repo/none.gguf", /hf:some\/repo\/none\.gguf could not be fetched .*HTTP 404/],
    ["hf:some/none", /not of the form hf:OWNER\/REPO\/FILE\.gguf/],
    ["hf:some/../x/a.gguf", /not of the form/],
  ])("is refused as %s", async (model, words) => {
    await expect(ensureBundle(model, quiet)).rejects.toThrow(words);
  });
});
