import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { counter } from "../abuse/storm.ts";
import { PROMPTS } from "../decode/prompts.ts";
import { round } from "../decode/stats.ts";
import { count } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";
import { firstMessages } from "../eval/rows.ts";
import { type Asked, KINDS, textOf } from "../soak/answers.ts";
import { holdings } from "../soak/holdings.ts";

export const SOAK_HELP = `npm run bench -- soak [options]
Many streams of all kinds at once (${Object.keys(KINDS).join(", ")}), each text compared with what
plain decoding gives it alone; then what has grown meanwhile. With GPU_WORKER_KV_MIB=24 under memory pressure.
  --bundle NAME    (smollm2-135m)
  --prompts FILE   JSONL, also .xz, may be repeated; the first message of each row (six prompts of our own)
  --prompt-count N prompts at most (200)
  --streams N      streams at once (16)
  --answers N      (200)
  --max-tokens N   per answer (64)`;

/** Fails where a text is not what it is alone, or a session is left open. */
export async function benchSoak(args: readonly string[]): Promise<object> {
  const { bundle, answers, streams, maxTokens, ...options } = readOptions(args);
  const bundleDir = await ensureBundle(bundle);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-soak-"));
  const rateLimit = { limit: 1_000_000, period: 60 } as const;
  const vars = { MAX_STREAMS: "64", MAX_STREAMS_TOTAL: "64" };
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit, vars });
  try {
    const rows =
      options.prompts.length === 0
        ? PROMPTS
        : await firstMessages(options.prompts, { split: null, limit: options.promptCount, perCategory: null });
    const asked = Array.from({ length: answers }, (_, i) => askedFor(i, rows));
    const at = { url: stack.edge.url, model: bundle, maxTokens };
    const texts = await alone(at, asked);
    const processes = { gpuWorker: stack.gpuWorker.pid, edge: stack.edge.pid };
    const progress = new Progress(answers, "mixed answers");
    const different: object[] = [];
    let before: object = {};
    let next = 0;
    const stream = async () => {
      while (next < answers) {
        const index = next++;
        if (index === answers >> 2) before = holdings(processes);
        const own = asked[index]!;
        const text = await textOf(at, own, own.kind);
        if (text !== texts.get(referenceOf(own))) different.push({ kind: own.kind, content: own.content, text });
        progress.step();
      }
    };
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: streams }, stream));
    const seconds = (performance.now() - startedAt) / 1000;
    progress.stop();
    const sessions = await counter(stack.gpuWorker.url, "foredraft_sessions_open");
    if (different.length > 0 || sessions > 0) process.exitCode = 1;
    return {
      answers,
      equal: answers - different.length,
      different: different.slice(0, 5),
      seconds: round(seconds, 1),
      preemptions: await counter(stack.gpuWorker.url, "foredraft_num_preemptions_total"),
      sessions_left: sessions,
      held: { after_a_quarter: before, at_the_end: holdings(processes) },
      settings: { bundle, streams, maxTokens, ...options, prompts: rows.length, cpu: cpus()[0]?.model ?? "" },
    };
  } finally {
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

type At = Parameters<typeof textOf>[0];

/** Every kind meets every prompt in the end. */
function askedFor(index: number, rows: readonly string[]): Asked {
  const kinds = Object.keys(KINDS);
  const kind = kinds[(index + Math.floor(index / rows.length)) % kinds.length]!;
  return { kind, content: rows[index % rows.length]!, seed: index % rows.length };
}

/** Greedy kinds share one text. */
function referenceOf({ kind, content }: Asked): string {
  return `${KINDS[kind]!.temperature} ${content}`;
}

/** What plain decoding gives each of them alone. */
async function alone(at: At, asked: readonly Asked[]): Promise<Map<string, string>> {
  const all = new Map(asked.map((own) => [referenceOf(own), own]));
  const progress = new Progress(all.size, "texts alone");
  const texts = new Map<string, string>();
  for (const [reference, own] of all) {
    texts.set(reference, await textOf(at, own, "plain"));
    progress.step();
  }
  progress.stop();
  return texts;
}

function readOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      prompts: { type: "string", multiple: true, default: [] },
      "prompt-count": { type: "string", default: "200" },
      streams: { type: "string", default: "16" },
      answers: { type: "string", default: "200" },
      "max-tokens": { type: "string", default: "64" },
    },
  });
  return {
    bundle: values.bundle,
    prompts: values.prompts,
    promptCount: count("--prompt-count", values["prompt-count"], 100_000)!,
    streams: count("--streams", values.streams, 64)!,
    answers: count("--answers", values.answers, 100_000)!,
    maxTokens: count("--max-tokens", values["max-tokens"], 1000)!,
  };
}
