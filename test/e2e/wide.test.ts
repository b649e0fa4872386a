import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { complete, NO_PARTS } from "../../bench/eval/complete.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import { createTokenizer } from "../../edge/text/tokenizer.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { GgufFile } from "../../models/gguf.ts";
import { sealPackage } from "../../models/package.ts";
import { ROOT } from "../../scripts/paths.ts";
import { type Stack, startStack } from "../../scripts/stack.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { tokensOf } from "../../train/ngram/token-file.ts";
import { trainTable } from "../../train/ngram/train.ts";
import { type GgufTensor, ggufOf } from "../helpers/gguf.ts";
import { Random } from "../helpers/random.ts";

/*
 * A vocabulary whose ids need more than 16 bits, as most newer models have, through the whole service: a small random
 * model that says little but its last tokens, and a pack of what it says.
 */

const VOCABULARY = 66_800;
/** Tokens from here on are the likelier ones. */
const LIKELY = 65_600;
const [WIDTH, FFN, HEADS] = [32, 48, 4];
const DRAFT_HEADS = 2;
const PROMPT = "the cat sat on the mat";
/** No more than a lattice has columns, so that each is among a head's candidates. */
const MAX_TOKENS = 14;
const COLUMNS = 16;

const random = new Random(70);
const matrix = (name: string, rows: number, columns: number, size = 1 / Math.sqrt(columns)): GgufTensor => {
  const values = Float32Array.from({ length: rows * columns }, () => (random.unit() * 4 - 2) * size);
  return { name, rows, columns, values };
};
const norm = (name: string): GgufTensor => ({ name, rows: 1, columns: WIDTH, values: new Float32Array(WIDTH).fill(1) });

/** A small model's tokenizer with tokens up to VOCABULARY that no text is made into, and weights of one block. */
async function wideModel(): Promise<Buffer> {
  const small = await GgufFile.open(join(ROOT, "test", "models", "small", "llama.gguf"));
  const tokens = await small.strings("tokenizer.ggml.tokens");
  const types = small.list("tokenizer.ggml.token_type").map(Number);
  for (let id = tokens.length; id < VOCABULARY; id++) tokens.push(`w${id}`);
  const output = matrix("output.weight", VOCABULARY, WIDTH, 0.3);
  for (let i = LIKELY * WIDTH; i < output.values.length; i++) output.values[i]! *= 3;
  const block = (part: string, rows: number, columns = WIDTH) => matrix(`blk.0.${part}.weight`, rows, columns);
  return ggufOf(
    {
      "general.architecture": "llama",
      "llama.block_count": 1,
      "llama.context_length": 256,
      "llama.embedding_length": WIDTH,
      "llama.feed_forward_length": FFN,
      "llama.attention.head_count": HEADS,
      "llama.attention.layer_norm_rms_epsilon": 1.5e-5,
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "llama-bpe",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.token_type": [...types, ...new Array<number>(VOCABULARY - types.length).fill(1)],
      "tokenizer.ggml.merges": await small.strings("tokenizer.ggml.merges"),
      "tokenizer.ggml.eos_token_id": 2,
    },
    [
      matrix("token_embd.weight", VOCABULARY, WIDTH, 1),
      ...["attn_norm", "ffn_norm"].map((name) => norm(`blk.0.${name}.weight`)),
      ...["attn_q", "attn_k", "attn_v", "attn_output"].map((part) => block(part, WIDTH)),
      ...[block("ffn_gate", FFN), block("ffn_up", FFN), block("ffn_down", WIDTH, FFN)],
      ...[norm("output_norm.weight"), output],
    ],
  );
}

/** Draft heads that know which tokens there are to choose from, and not which of them comes next. */
function draftHeads(ids: readonly number[]): Buffer {
  const entries: Record<string, object> = { __metadata__: { taps: "", heads: String(DRAFT_HEADS) } };
  const data: Buffer[] = [];
  let end = 0;
  const put = (name: string, dtype: "F32" | "I32", shape: readonly number[], values: Float32Array | Int32Array) => {
    entries[name] = { dtype, shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
    data.push(Buffer.from(values.buffer));
  };
  put("in_norm.weight", "F32", [2 * WIDTH], new Float32Array(2 * WIDTH).fill(1));
  put("trunk.weight", "F32", [WIDTH, 2 * WIDTH], matrix("", WIDTH, 2 * WIDTH).values);
  for (let j = 0; j < DRAFT_HEADS; j++) {
    put(`head.${j}.weight`, "F32", [WIDTH, WIDTH], matrix("", WIDTH, WIDTH).values);
    put(`head.${j}.bias`, "F32", [WIDTH], new Float32Array(WIDTH));
  }
  put("draft_ids", "I32", [ids.length], Int32Array.from(ids));
  const header = Buffer.from(JSON.stringify(entries));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, ...data]);
}

/** What the model says after the prompt, and the bundle's manifest. */
async function spoken(bundle: string): Promise<{ said: readonly number[]; manifest: BundleManifest }> {
  const manifest = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
  const tokenizer = createTokenizer(await readFile(join(bundle, manifest.tokenizer.path)));
  const engine = await createInProcessEngine(bundle, { kvLimitBytes: 16 << 20, threads: 1 });
  const prompt = Uint32Array.from(tokenizer.encodePlain(PROMPT));
  const limits = { maxTokens: MAX_TOKENS, eosTokens: manifest.eosTokens };
  const plain = parseMethod("ar", manifest, { alpha: null, pack: null, heads: null, topK: null });
  const task = { engine, model: manifest.name, prompt, limits, autoNodes: false };
  const { output } = await complete(task, plain, NO_PARTS, []);
  await engine.close();
  return { said: output, manifest };
}

/** The model as a package with draft heads and a pack named "said". */
async function packageOf(gguf: string, said: readonly number[], tokenizerHash: string): Promise<string> {
  const path = join(dir, "package");
  await mkdir(join(path, "packs"), { recursive: true });
  const others = Array.from({ length: COLUMNS }, (_, i) => LIKELY + i);
  const ids = [...new Set([...said, ...others])].slice(0, COLUMNS).sort((a, b) => a - b);
  const source = {
    name: "wide",
    license: "none",
    gguf: { file: "wide.gguf" },
    precision: "int8",
    contextTokens: 256,
    topK: COLUMNS,
    eosTokens: [2],
    costs: { pass: 1, row: 0.01, wanted: 0.01, context: 0.01, heads: 0.1 },
    defaults: {
      heads: DRAFT_HEADS,
      topK: COLUMNS,
      rescorer: { type: "ngram", model: "said", order: 3, alpha: 0.9, pBest: 1 },
    },
  };
  const table = trainTable([{ tokens: tokensOf([said], VOCABULARY), weight: 1, split: null }], {
    order: 3,
    vocabSize: VOCABULARY,
    thresholds: [0, 0, 0],
    maxBytes: Infinity,
  });
  await writeFile(join(path, "wide.gguf"), await readFile(gguf));
  await writeFile(join(path, "source.json"), JSON.stringify(source));
  await writeFile(join(path, "heads.safetensors"), draftHeads(ids));
  await writeFile(join(path, "packs", "said.fdlm"), writePack(table, tokenizerHash));
  await sealPackage(path);
  return path;
}

const kept = process.env.FOREDRAFT_CACHE;
let dir = "";
let stack: Stack;
let said: readonly number[];
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-wide-"));
  process.env.FOREDRAFT_CACHE = join(dir, "cache");
  const gguf = join(dir, "wide.gguf");
  await writeFile(gguf, await wideModel());
  const quiet = { onNotice: () => undefined };
  const bare = await spoken(await ensureBundle(gguf, quiet));
  said = bare.said;
  const path = await packageOf(gguf, said, bare.manifest.tokenizer.sha256);
  const bundleDir = await ensureBundle(path, quiet);
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  const signal = new AbortController().signal;
  stack = await startStack({ bundle: "wide", bundleDir, assetsDir: join(dir, "assets"), threads: 1, signal });
}, 120_000);
afterAll(async () => {
  await stack?.close();
  await rm(dir, { recursive: true, force: true });
});

interface Answer {
  readonly choices: readonly { readonly text: string }[];
  readonly metrics: {
    readonly block_efficiency: number;
    readonly placement: { readonly steps: { readonly edge: number } };
  };
}

async function ask(speculation: object): Promise<Answer> {
  const response = await fetch(`${stack.edge.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "wide", prompt: PROMPT, max_tokens: MAX_TOKENS, temperature: 0, speculation }),
  });
  expect(response.status).toBe(200);
  return (await response.json()) as Answer;
}

test("workerd drafts by a pack whose tokens need more than 16 bits, and the text stays the same", async () => {
  expect(said.filter((token) => token > 0xffff).length).toBeGreaterThan(said.length / 2);
  const plain = await ask({ enabled: false });
  expect(plain.choices[0]!.text).toContain(`w${said.findLast((token) => token > 0xffff)}`);
  const common = { placement: "edge", max_nodes: 8 };
  const byHeads = await ask({ ...common, rescorer: { type: "none" } });
  const byPack = await ask({ ...common, rescorer: { type: "ngram", model: "said", alpha: 0.9, prompt: false } });
  for (const drafted of [byHeads, byPack]) {
    expect(drafted.choices).toEqual(plain.choices);
    expect(drafted.metrics.placement.steps.edge).toBeGreaterThan(0);
  }
  expect(byHeads.metrics.block_efficiency).toBeLessThan(1.5);
  expect(byPack.metrics.block_efficiency).toBeGreaterThan(2);
});
