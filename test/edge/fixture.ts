import type { Hono } from "hono";
import { createApp } from "../../edge/app.ts";
import { readConfig } from "../../edge/config.ts";
import type { AppDeps, AppEnv } from "../../edge/services.ts";
import type { BundleInfo } from "../../shared/engine.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { type Script, ScriptedEngine } from "./scripted-engine.ts";
import { END, IM_END, IM_START, sha256, TOKENIZER, TOKENIZER_HASH, tokenizer, tokensOf } from "./toy-tokenizer.ts";

export { END, IM_END, IM_START, sha256, TOKENIZER, TOKENIZER_HASH, tokenizer, tokensOf };

const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const COSTS = { pass: 4, row: 0.5, wanted: 0.25, context: 1, heads: 1.5 };

export function manifestOf(name: string, change: Partial<BundleManifest> = {}): BundleManifest {
  const file = { path: "none", bytes: 0, sha256: "00" };
  return {
    format: 2,
    name,
    license: "Apache-2.0",
    notice: null,
    architecture: {
      layers: 1,
      width: 1,
      heads: 1,
      kvHeads: 1,
      headDim: 2,
      ffn: 1,
      vocabSize: tokenizer.size,
      contextTokens: 512,
      normEps: 1e-5,
      ropeFrequencies: [1],
    },
    precision: "fp32",
    taps: [],
    costs: COSTS,
    graphs: { base: { ...file, sha256: "abcdef0123456789" }, heads: file, neural: null },
    latticeHeads: 8,
    topK: 4,
    copyHeads: null,
    tokenizer: { path: "tokenizer.json", bytes: TOKENIZER.length, sha256: TOKENIZER_HASH },
    chatTemplate: CHATML,
    bosToken: null,
    eosTokens: [END, IM_END],
    packs: [],
    defaults: {
      heads: 4,
      topK: 4,
      rescorer: { type: "ngram", model: "general", order: 3, alpha: 0.3, pBest: 1 },
      neuralAlpha: 0.6,
    },
    ...change,
  };
}

export const INFO: BundleInfo = {
  model: "toy",
  tokenizerHash: TOKENIZER_HASH,
  vocabSize: tokenizer.size,
  contextTokens: 512,
  latticeHeads: 8,
  topK: 4,
  provider: "scripted",
  costs: COSTS,
  neural: false,
  pair: false,
};

export interface TestApp {
  readonly app: Hono<AppEnv>;
  readonly engine: ScriptedEngine;
  readonly logged: unknown[];
  /** POSTs JSON. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
}

export interface TestAppOptions {
  readonly script?: Script;
  readonly env?: Record<string, string>;
  readonly deps?: Partial<AppDeps>;
  readonly manifests?: readonly BundleManifest[];
  readonly info?: Partial<BundleInfo>;
}

/** The app in Node over a scripted engine; its clock advances 1 ms a reading. */
export function testApp(options: TestAppOptions = {}): TestApp {
  const manifests = options.manifests ?? [manifestOf("toy"), manifestOf("mute", { chatTemplate: null })];
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const manifest of manifests) {
    files.set(`${manifest.name}/manifest.json`, new TextEncoder().encode(JSON.stringify(manifest)));
    files.set(`${manifest.name}/tokenizer.json`, TOKENIZER);
  }
  const info = { ...INFO, ...options.info };
  const engine = new ScriptedEngine(options.script ?? { text: "hello world" }, info);
  const logged: unknown[] = [];
  let clock = 0;
  const app = createApp({
    config: readConfig({
      GPU_WORKER_URL: "http://127.0.0.1:1",
      GPU_WORKER_KEY: "worker-secret",
      DEFAULT_MODEL: manifests.map((m) => m.name).join(","),
      ANONYMOUS: String(options.env?.API_KEYS === undefined),
      ...options.env,
    }),
    engine,
    engineInfo: async () => info,
    registry: null,
    memory: null,
    keyStore: null,
    tracing: null,
    packs: null,
    engineMetrics: async () => [],
    readFile: async (path) => files.get(path) ?? null,
    assets: async ({ url }) =>
      ["/", "/demo.js"].includes(new URL(url).pathname) ? new Response("asset") : new Response(null, { status: 404 }),
    limiter: null,
    now: () => clock++,
    date: () => 1_800_000_000_000,
    logError: (_, error) => logged.push(error),
    ...options.deps,
  });
  const post = async (path: string, body: unknown, init: RequestInit = {}): Promise<Response> =>
    await app.request(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...init,
    });
  return { app, engine, logged, post };
}

export const user = (content: string) => [{ role: "user", content }];

/** As much of an answer's shape as tests look into. */
export interface WireBody {
  readonly id: string;
  readonly choices: readonly {
    readonly message: { readonly content: string };
    readonly logprobs: {
      readonly content: readonly {
        readonly token: string;
        readonly top_logprobs: readonly { readonly logprob: number }[];
      }[];
    };
  }[];
  readonly usage: { readonly completion_tokens: number };
  readonly metrics: { readonly speculative_decoding: { readonly per_step_accepted: readonly number[] } };
  readonly speculation: { readonly steps: readonly unknown[] };
}

export async function wire(response: Promise<Response> | Response): Promise<WireBody> {
  return (await (await response).json()) as WireBody;
}
