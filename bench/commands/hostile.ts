import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { HOSTILE } from "../../test/edge/hostile-bodies.ts";
import { mutatedBody } from "../../test/edge/mutated-bodies.ts";
import { Random } from "../../test/helpers/random.ts";
import { median, round } from "../decode/stats.ts";
import { count } from "../eval/options.ts";

export const HOSTILE_HELP = `npm run bench -- hostile [options]
What it costs workerd to refuse bodies made to cost as much as they can, and mutated ones: CPU time of the thread that all Workers
run on, as a deployment counts it, and with it that of the threads on which V8 compiles and collects garbage (Linux).
  --bundle NAME   (tiny, which soon ends with the mutated bodies that it can answer)
  --rounds N      of the hostile bodies (10), after a first one that is given apart, as most of it is code run for the first time
  --mutated N     mutated bodies (5000), the first tenth of them given apart; one that took more than 10 ms is sent again`;

const CONTEXT = 8192;
/** A mutated body whose refusal took longer is sent once more, ms. */
const DEAR_MS = 10;

/** Refused only when they are tokens, or a grammar. */
const LATE: Readonly<Record<string, readonly [path: string, body: () => string]>> = {
  "a word as long as a prompt may be": text("x".repeat(CONTEXT * 12)),
  "the longest prompt of single letters": text("x ".repeat(CONTEXT * 6)),
  "the longest prompt of signs": text("\u{10348}%".repeat(CONTEXT * 4)),
  "the longest grammar": guided({ grammar: `root ::= ${'"a" | '.repeat(10_900)}missing` }),
  "the longest grammar, left-recursive": guided({ grammar: `root ::= root | ${'"a" | '.repeat(10_900)}"a"` }),
  "a grammar of groups": guided({ grammar: `root ::= ${"(".repeat(200)}${'"a" '.repeat(16_000)}${")".repeat(199)}` }),
  "a grammar that allows nothing": guided({ grammar: `root ::= ${"[aceg]{4096} ".repeat(3)} []` }),
  "a grammar of too many states": guided({ grammar: `root ::= ${"[aceg]{4096} ".repeat(9)}` }),
  "a grammar of too many ways": guided({ grammar: `root ::= (${numbers(1000).join("|")}){4096}` }),
  "nothing, over and over": guided({ grammar: 'root ::= ((""{4096}){4096}){4096}' }),
  "tools whose keywords are passed over": ["/v1/chat/completions", () => toolsOf(40, 90)],
  "a pattern of counts": guided({ regex: "((((a{1,9}){1,9}){1,9}){1,9}){1,99}{1,99}" }),
};

function text(prompt: string): [string, () => string] {
  return ["/v1/completions", () => JSON.stringify({ prompt })];
}

function guided(form: object): [string, () => string] {
  return ["/v1/completions", () => JSON.stringify({ prompt: "x", guided: form })];
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `"${i}"`);
}

/** Each property of each tool with a keyword that cannot be heeded. */
function toolsOf(count: number, fields: number): string {
  const properties = Object.fromEntries(Array.from({ length: fields }, (_, i) => [`p${i}`, { pattern: "(" }]));
  const tools = Array.from({ length: count }, (_, i) => ({
    type: "function",
    function: { name: `t${i}`, parameters: { type: "object", properties } },
  }));
  return JSON.stringify({ messages: [{ role: "user", content: "x" }], tools, tool_choice: "required" });
}

/** Milliseconds of CPU time, the worst kind of body first. Throws where something is not refused as it should be. */
export async function benchHostile(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "tiny" },
      rounds: { type: "string", default: "10" },
      mutated: { type: "string", default: "5000" },
    },
  });
  const { bundle } = values;
  const rounds = count("--rounds", values.rounds, 1000) ?? 1;
  const mutated = values.mutated === "0" ? 0 : (count("--mutated", values.mutated, 1_000_000) ?? 0);
  const bundleDir = await ensureBundle(bundle);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-hostile-"));
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit: { limit: 1_000_000, period: 60 } });
  try {
    const measured = new Measured(stack.edge.url, await workerdOf(stack.edge.pid));
    await measured.refusal("/v1/completions", '{"prompt":"x","max_tokens":1}');
    const kinds = new Map<string, Cost[]>();
    for (let done = 0; done <= rounds; done++) {
      for (const [name, [path, body]] of Object.entries({ ...HOSTILE, ...LATE })) {
        const cost = await measured.refusal(path, body());
        if (cost === null) throw new Error(`${name} is not refused`);
        kinds.set(name, [...(kinds.get(name) ?? []), cost]);
      }
      console.error(done === 0 ? "first round" : `round ${done} of ${rounds}`);
    }
    return {
      cpu_ms_of_hostile_bodies: summaryOf(kinds),
      ...(await measureMutated(measured, mutated)),
      settings: { bundle, rounds, cpu: cpus()[0]?.model ?? "", node: process.version },
    };
  } finally {
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

function summaryOf(kinds: ReadonlyMap<string, readonly Cost[]>) {
  const all = [...kinds].map(
    ([name, [first, ...later]]) => [name, { first: first?.worker, ...spread(later) }] as const,
  );
  return Object.fromEntries(all.sort(([, a], [, b]) => b.most - a.most));
}

function spread(costs: readonly Cost[]) {
  const worker = costs.map((cost) => cost.worker);
  return {
    median: round(median(worker), 1),
    most: Math.max(...worker),
    most_with_v8: Math.max(...costs.map(({ all }) => all)),
  };
}

async function measureMutated(measured: Measured, bodies: number) {
  const random = new Random(2026);
  const refusals: Cost[] = [];
  const again: number[] = [];
  for (let i = 0; i < bodies; i++) {
    const [path, body] = mutatedBody(random);
    const json = JSON.stringify(body);
    const cost = await measured.refusal(path, json);
    if (cost !== null) refusals.push(cost);
    // Whether it is the body that is dear, or a collection of garbage that fell to it.
    if (cost !== null && cost.worker > DEAR_MS) again.push((await measured.refusal(path, json))?.worker ?? 0);
    if ((i + 1) % 500 === 0) console.error(`${i + 1} of ${bodies} mutated bodies`);
  }
  const apart = Math.ceil(refusals.length / 10);
  if (apart === refusals.length) return {};
  const first = Math.max(...refusals.slice(0, apart).map(({ worker }) => worker));
  const dear = { sent_again: again.length, most_again: Math.max(0, ...again) };
  const all = { refused: refusals.length, most_of_first: first, ...spread(refusals.slice(apart)), ...dear };
  return { cpu_ms_of_mutated_bodies: all };
}

/** CPU time of one request, ms. */
interface Cost {
  /** Of the thread that Workers run on, miniflare's own among them. */
  readonly worker: number;
  /** Of all of workerd's threads: V8 compiles and collects garbage on others, also for earlier requests. */
  readonly all: number;
}

/** Requests to a Worker, each with the CPU time that it took. */
class Measured {
  readonly #url: string;
  readonly #pid: string;

  constructor(url: string, pid: string) {
    this.#url = url;
    this.#pid = pid;
  }

  /** What a refusal took; null where the request was answered. Throws where it is no 4xx in OpenAI's shape. */
  async refusal(path: string, body: string): Promise<Cost | null> {
    const before = await cpuTime(this.#pid);
    const headers = { "content-type": "application/json" };
    const response = await fetch(this.#url + path, { method: "POST", headers, body });
    const said = await response.text();
    const after = await cpuTime(this.#pid);
    if (response.ok) return null;
    const known = response.status < 500 && typeof JSON.parse(said).error?.code === "string";
    if (!known) throw new Error(`HTTP ${response.status}: ${said} to ${body.slice(0, 1000)}`);
    return { worker: round(after.worker - before.worker, 1), all: round(after.all - before.all, 1) };
  }
}

/** The process that edge-process.ts has started workerd in. */
async function workerdOf(pid: number | undefined): Promise<string> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  for (const child of children.trim().split(" ")) {
    if ((await readFile(`/proc/${child}/comm`, "utf8")).startsWith("workerd")) return child;
  }
  throw new Error("workerd is not among the edge's processes");
}

/** What workerd has taken so far; its first thread is the one that Workers run on. */
async function cpuTime(pid: string): Promise<Cost> {
  const threads = await readdir(`/proc/${pid}/task`);
  const times = threads.map(async (thread) => {
    const [ns = "0"] = (await readFile(`/proc/${pid}/task/${thread}/schedstat`, "utf8")).split(" ");
    return [thread, Number(ns) / 1e6] as const;
  });
  const spent = new Map(await Promise.all(times));
  return { worker: spent.get(pid) ?? 0, all: [...spent.values()].reduce((sum, ms) => sum + ms, 0) };
}
