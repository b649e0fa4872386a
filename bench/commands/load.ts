import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { measureContext } from "../decode/engine-step.ts";
import { obtainLlama } from "../decode/llama.ts";
import { PROMPTS } from "../decode/prompts.ts";
import { median, percentile, round } from "../decode/stats.ts";
import { loadBundle } from "../eval/model.ts";
import { count } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";
import { firstMessages } from "../eval/rows.ts";
import { type LoadRun, runLoad, type Server } from "../load/closed-loop.ts";
import { measurePrefill, stallMs } from "../load/prefill.ts";
import { foredraft, type Keys, llamaCpp } from "../load/servers.ts";

const STREAMS = [1, 4, 8, 16, 32];
const METHODS = ["plain", "default", "llama_cpp"];

export const LOAD_HELP = `npm run bench -- load [options]
Many streams at once, in a closed loop, over the full path: plain, default drafts and llama.cpp in turn; then the time
of a long prompt, alone and beside streams that decode, and what context costs.
  --bundle NAME    (smollm2-135m)
  --prompts FILE   JSONL, also .xz, as for npm run eval; the first message of each row (six prompts of our own)
  --streams A,B    streams at once (${STREAMS.join(",")})
  --answers N      answers per stream at least, and a dozen in all (3)
  --max-tokens N   per answer (96)
  --methods A,B    (${METHODS.join(",")})
  --rounds N       medians over so many (1)`;

/** Tokens per second, time to first token and gaps at growing numbers of streams. */
export async function benchLoad(args: readonly string[]): Promise<object> {
  const options = readOptions(args);
  const { bundle, rounds, streams } = options;
  const bundleDir = await ensureBundle(bundle);
  const { text, manifest } = await loadBundle(bundleDir, bundle);
  const context = await measureContext(bundleDir);
  const wanted = options.methods.includes("llama_cpp");
  const [llama, whyNot] = wanted ? await obtainLlama(bundle, availableParallelism()) : [null, "not asked for"];
  const keys = keyRing();
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-load-"));
  const vars = { API_KEYS: keys.hashes.join(), MAX_STREAMS: "64", MAX_STREAMS_TOTAL: "64" };
  const rateLimit = { limit: 1_000_000, period: 60 } as const;
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit, vars });
  try {
    const rows =
      options.prompts === null
        ? PROMPTS
        : await firstMessages([options.prompts], { split: null, limit: null, perCategory: null });
    const at = { url: stack.edge.url, model: bundle };
    const servers = Object.entries({
      plain: foredraft(at, keys, { enabled: false }),
      default: foredraft(at, keys, {}),
      llama_cpp: llama && llamaCpp(llama, (content) => [...text.chat([{ role: "user", content }])]),
    }).filter((entry): entry is [string, Server] => entry[1] !== null && options.methods.includes(entry[0]));
    const runs: Record<string, Record<string, LoadRun[]>> = {};
    const progress = new Progress(streams.length * rounds * servers.length, "runs");
    for (const n of streams) {
      const answers = Math.max(12, n * options.answers);
      const own: Record<string, LoadRun[]> = {};
      for (let round = 0; round < rounds; round++) {
        for (const [name, server] of servers) {
          (own[name] ??= []).push(await runLoad(server, rows, { streams: n, answers, maxTokens: options.maxTokens }));
          progress.step();
        }
      }
      runs[n] = own;
      print(n, own);
    }
    progress.stop();
    console.error("long prompts ...");
    const lengths = [400, 1000, 4000].filter((length) => length + 8 <= manifest.architecture.contextTokens);
    const prefill = await measurePrefill(at, keys, llama, lengths, manifest.architecture.vocabSize);
    const stall = await stallMs(at, keys, rows, lengths.at(-1)!, manifest.architecture.vocabSize);
    return {
      streams: Object.fromEntries(Object.entries(runs).map(([n, own]) => [n, summary(own)])),
      prefill_ms: prefill,
      longest_gap_beside_prefills_ms: stall,
      context_cost: Object.fromEntries(Object.entries(context).map(([tokens, ms]) => [tokens, round(ms, 2)])),
      llama_cpp_missing: whyNot,
      settings: { ...options, cpu: cpus()[0]?.model ?? "", threads: availableParallelism(), node: process.version },
    };
  } finally {
    llama?.close();
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

function readOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      prompts: { type: "string" },
      streams: { type: "string", default: STREAMS.join() },
      answers: { type: "string", default: "3" },
      "max-tokens": { type: "string", default: "96" },
      rounds: { type: "string", default: "1" },
      methods: { type: "string", default: METHODS.join() },
    },
  });
  return {
    bundle: values.bundle,
    prompts: values.prompts ?? null,
    streams: values.streams.split(",").map((text) => count("--streams", text, 64)!),
    answers: count("--answers", values.answers, 1000)!,
    maxTokens: count("--max-tokens", values["max-tokens"], 1000)!,
    rounds: count("--rounds", values.rounds, 1000)!,
    methods: values.methods.split(","),
  };
}

/** Keys of as many tenants: no run finds another's prompts in the cache. */
function keyRing(): Keys & { readonly hashes: readonly string[] } {
  const all = Array.from({ length: 200 }, () => randomBytes(12).toString("base64url"));
  let next = 0;
  return {
    hashes: all.map((key) => createHash("sha256").update(key).digest("hex")),
    next: () => all[next++ % all.length]!,
  };
}

function summary(own: Readonly<Record<string, readonly LoadRun[]>>): object {
  const of = (name: string, value: (run: LoadRun) => number, digits = 1) => {
    const runs = own[name];
    return runs === undefined ? null : round(median(runs.map(value)), digits);
  };
  const times = (name: string) => ({
    p50: of(name, (run) => percentile(run.ttftMs, 0.5), 0),
    p95: of(name, (run) => percentile(run.ttftMs, 0.95), 0),
  });
  const both = (value: (name: string) => unknown) => Object.fromEntries(METHODS.map((name) => [name, value(name)]));
  return {
    plain_tok_s: of("plain", (run) => run.tokensPerSecond),
    default_tok_s: of("default", (run) => run.tokensPerSecond),
    llama_cpp_tok_s: of("llama_cpp", (run) => run.tokensPerSecond),
    decode_tok_s: both((name) => of(name, (run) => median(run.decodeRates))),
    ttft_ms: { ...times("default"), plain: times("plain"), llama_cpp: times("llama_cpp") },
    gap_ms: {
      p95: of("default", (run) => percentile(run.gapsMs, 0.95)),
      plain: { p95: of("plain", (run) => percentile(run.gapsMs, 0.95)) },
      llama_cpp: { p95: of("llama_cpp", (run) => percentile(run.gapsMs, 0.95)) },
    },
    tokens: both((name) => own[name]?.map((run) => run.tokens) ?? null),
  };
}

function print(streams: number, own: Readonly<Record<string, readonly LoadRun[]>>): void {
  for (const [name, runs] of Object.entries(own)) {
    for (const { tokensPerSecond, tokens, seconds, ttftMs, gapsMs, decodeRates } of runs) {
      const p95 = (values: readonly number[]) => percentile(values, 0.95).toFixed(0);
      console.log(
        `${String(streams).padStart(3)} streams  ${name.padEnd(9)}  ${tokensPerSecond.toFixed(1).padStart(6)} tok/s ` +
          `(${tokens} in ${seconds.toFixed(1)} s)  alone ${median(decodeRates).toFixed(1)} tok/s  ` +
          `first token p95 ${p95(ttftMs)} ms  gap p95 ${p95(gapsMs)} ms`,
      );
    }
  }
}
