import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { HOSTILE } from "../../test/edge/hostile-bodies.ts";
import { mutatedBodies } from "../../test/edge/mutated-bodies.ts";
import { workerdClock } from "../bodies/cpu.ts";
import { round } from "../decode/stats.ts";
import { count } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";

export const BODIES_HELP = `npm run bench -- bodies [options]
CPU time that workerd spends on request bodies which are refused: ${Object.keys(HOSTILE).length} hostile ones, each as large as it may
be, and mutated ones.
  --bundle NAME    (smollm2-135m; its context is what prompts have to be too long for)
  --mutated N      bodies (none); those that are answered run the model, so rather with --bundle tiny
  --rounds N       of every hostile body, and of the slowest mutated ones (20)`;

/** A body is repeated to be measured, as the system counts time in steps larger than what most take. */
const SLOWEST = 20;

interface Sent {
  readonly path: string;
  readonly text: string;
}

/** Fails where a refusal is no 4xx. Resolves the mean CPU time of each kind of body, the dearest first. */
export async function benchBodies(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      mutated: { type: "string" },
      rounds: { type: "string", default: "20" },
    },
  });
  const { bundle } = values;
  const mutated = count("--mutated", values.mutated, 1_000_000) ?? 0;
  const rounds = count("--rounds", values.rounds, 1000) ?? 1;
  const bundleDir = await ensureBundle(bundle);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-bench-"));
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit: { limit: 1_000_000, period: 60 } });
  const progress = new Progress(Object.keys(HOSTILE).length + mutated, "bodies");
  try {
    const measure = new Measure(stack.edge.url, workerdClock(stack.edge.pid));
    await measure.warmUp();
    const hostile: Record<string, number> = {};
    for (const [name, { path, body }] of Object.entries(HOSTILE)) {
      hostile[name] = await measure.mean({ path, text: body() }, rounds);
      progress.step();
    }
    const slowest = await slowestOf(mutated, measure, () => progress.step());
    const again: number[] = [];
    for (const one of slowest.bodies) again.push(await measure.mean(one, rounds));
    return {
      hostile_ms: Object.fromEntries(Object.entries(hostile).sort(([, a], [, b]) => b - a)),
      mutated: { bodies: mutated, refused: slowest.refused, slowest_ms: again.sort((a, b) => b - a) },
      worst_ms: Math.max(...Object.values(hostile), ...again),
      settings: { bundle, rounds, cpu: cpus()[0]?.model ?? "", node: process.version },
    };
  } finally {
    progress.stop();
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

/** Those refused on which workerd spent most, by one look at each. */
async function slowestOf(bodies: number, measure: Measure, step: () => void) {
  const refused: (Sent & { readonly ms: number })[] = [];
  for (const { path, body } of mutatedBodies(bodies)) {
    const sent = { path, text: JSON.stringify(body) };
    const { status, ms } = await measure.once(sent);
    if (status !== 200) refused.push({ ...sent, ms });
    step();
  }
  return { refused: refused.length, bodies: refused.toSorted((a, b) => b.ms - a.ms).slice(0, SLOWEST) };
}

class Measure {
  readonly #url: string;
  readonly #clock: () => number;

  constructor(url: string, clock: () => number) {
    this.#url = url;
    this.#clock = clock;
  }

  /** The first requests load the tokenizer and compile the code. */
  async warmUp(): Promise<void> {
    const text = JSON.stringify({ messages: [{ role: "user", content: "Hello!" }], max_tokens: 2 });
    for (let i = 0; i < 20; i++) await this.once({ path: "/v1/chat/completions", text });
  }

  async once({ path, text }: Sent): Promise<{ readonly status: number; readonly ms: number }> {
    const before = this.#clock();
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${this.#url}${path}`, { method: "POST", headers, body: text });
    const { status } = response;
    const answer = await response.text();
    if (status !== 200 && (status < 400 || status > 499)) throw new Error(`HTTP ${status}: ${answer}`);
    return { status, ms: this.#clock() - before };
  }

  /** Of a body that is refused, ms. */
  async mean(sent: Sent, rounds: number): Promise<number> {
    const before = this.#clock();
    for (let i = 0; i < rounds; i++) {
      const { status } = await this.once(sent);
      if (status === 200) throw new Error(`a body to ${sent.path} is not refused: ${sent.text.slice(0, 200)}`);
    }
    return round((this.#clock() - before) / rounds, 1);
  }
}
