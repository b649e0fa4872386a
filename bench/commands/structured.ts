import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { type Client, type Timed, timeAnswer } from "../decode/http.ts";
import { median, round } from "../decode/stats.ts";
import { count } from "../eval/options.ts";
import { checkRandom } from "../structured/random.ts";
import { ASKED, type Asked } from "../structured/schemas.ts";

const MAX_TOKENS = 256;

export const STRUCTURED_HELP = `npm run bench -- structured [options]
Speed of answers held to 50 schemas over the full path, greedy, with forced tokens drafted and without.
  --bundle NAME   (smollm2-135m; with --random: tiny)
  --rounds N      medians over so many (1)
  --random N      instead: answers to N random schemas, greedy and sampled, checked by another program's validator`;

/** In turn within each round, each first every other time; `speedup` is of all tokens over all time. */
export async function benchStructured(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: { bundle: { type: "string" }, rounds: { type: "string", default: "1" }, random: { type: "string" } },
  });
  const random = values.random === undefined ? null : count("--random", values.random, 1_000_000);
  const name = values.bundle ?? (random === null ? "smollm2-135m" : "tiny");
  const rounds = count("--rounds", values.rounds, 1000) ?? 1;
  const bundleDir = await ensureBundle(name);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-bench-"));
  const stack = await startStack({ bundle: name, bundleDir, assetsDir, rateLimit: { limit: 100_000, period: 60 } });
  try {
    const client = { url: stack.edge.url, model: name, key: null };
    return random === null ? await measure(client, rounds) : await checkRandom(client, random);
  } finally {
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

interface Pair {
  readonly forced: Timed;
  readonly blind: Timed;
}

async function measure(client: Client, rounds: number): Promise<object> {
  await answer(client, ASKED[0]!, true);
  const pairs: Pair[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [i, asked] of ASKED.entries()) {
      const first = (i + round) % 2 === 0;
      const one = await answer(client, asked, first);
      const other = await answer(client, asked, !first);
      pairs.push(first ? { forced: one, blind: other } : { forced: other, blind: one });
    }
    console.error(`round ${round + 1} of ${rounds}`);
  }
  return summary(pairs, { bundle: client.model, rounds });
}

async function answer(client: Client, { question, schema }: Asked, forced: boolean): Promise<Timed> {
  const response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
  return await timeAnswer(client, { content: question }, MAX_TOKENS, { forced }, { response_format });
}

function summary(pairs: readonly Pair[], settings: object): object {
  const total = (which: keyof Pair) => {
    const runs = pairs.map((pair) => pair[which]);
    const tokens = runs.reduce((sum, run) => sum + run.tokens - 1, 0);
    const seconds = runs.reduce((sum, run) => sum + (run.tokens - 1) / run.tokensPerSecond, 0);
    const steps = runs.reduce((sum, run) => sum + run.steps, 0);
    return { tokens_per_s: round(tokens / seconds), block_efficiency: round(tokens / steps), tokens, steps };
  };
  const [forced, blind] = [total("forced"), total("blind")];
  return {
    schemas: ASKED.length,
    with_forced_drafts: forced,
    without_forced_drafts: blind,
    speedup: round(forced.tokens_per_s / blind.tokens_per_s),
    speedup_per_schema: round(median(pairs.map((pair) => pair.forced.tokensPerSecond / pair.blind.tokensPerSecond))),
    settings: { ...settings, max_tokens: MAX_TOKENS, cpu: cpus()[0]?.model ?? "", node: process.version },
  };
}
