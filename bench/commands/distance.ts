import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { type DistantEdge, type Stack, startStack } from "../../scripts/stack.ts";
import { PLACEMENTS, type PlacementMode } from "../../shared/decode/placement.ts";
import { timeAnswer } from "../decode/http.ts";
import { PROMPTS } from "../decode/prompts.ts";
import { median, round } from "../decode/stats.ts";
import { count } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";
import { firstMessages } from "../eval/rows.ts";

const ROUND_TRIPS_MS = [0, 10, 20, 40, 80];
const LONGEST_MS = 2_000;
const METHODS = { plain: { enabled: false }, default: {} } as const;
type Method = keyof typeof METHODS;

export const DISTANCE_HELP = `npm run bench -- distance [options]
Tokens per second after the first token over the full path, with a delay in the wire between edge and gpu-worker: round
trips x who drafts (speculation.placement) x plain, default drafts, in turn for each prompt; and bytes per token in that wire.
  --bundle NAME    (smollm2-135m)
  --prompts FILE   JSONL, also .xz, as for npm run eval; the first message of each row (six prompts of our own)
  --limit N        the first N rows;  --per-category N  the first N of each category
  --rtt A,B        round trips, ms (${ROUND_TRIPS_MS.join(",")}); 0 is without that wire
  --placements A,B (${PLACEMENTS.join(",")})
  --max-tokens N   per answer (96)
  --rounds N       medians over prompts and so many rounds (1)`;

/** One answer. */
interface Sample {
  readonly rttMs: number;
  readonly method: Method;
  readonly placement: PlacementMode;
  readonly tokensPerSecond: number;
  readonly tokens: number;
  /** Both ways, what opens the session included; null without a wire to count in. */
  readonly bytes: number | null;
}

export async function benchDistance(args: readonly string[]): Promise<object> {
  const options = readOptions(args);
  const { bundle, rounds, roundTripsMs, placements } = options;
  const bundleDir = await ensureBundle(bundle);
  const prompts = options.prompts === null ? PROMPTS : await firstMessages([options.prompts], options);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-distance-"));
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit: { limit: 1_000_000, period: 60 } });
  const progress = new Progress(rounds * prompts.length * roundTripsMs.length, "prompts at a distance");
  try {
    const edges = await edgesOf(stack, roundTripsMs);
    const samples: Sample[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const prompt of prompts) {
        for (const edge of edges) {
          const ask = { model: bundle, prompt, maxTokens: options.maxTokens };
          samples.push(...(await compare(edge, placements, ask)));
          progress.step();
        }
      }
    }
    progress.stop();
    const rates = ratesOf(samples, roundTripsMs, placements);
    print(rates);
    return {
      rtt_ms: rates,
      bytes_per_token: bytesPerToken(samples, "default"),
      bytes_per_token_plain: bytesPerToken(samples, "plain"),
      settings: { ...options, prompts: prompts.length, cpu: cpus()[0]?.model ?? "", node: process.version },
    };
  } finally {
    progress.stop();
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

interface EdgeAt {
  readonly rttMs: number;
  readonly url: string;
  readonly wires: DistantEdge["wires"];
}

/** The same gpu-worker seen from several distances. */
async function edgesOf(stack: Stack, roundTripsMs: readonly number[]): Promise<EdgeAt[]> {
  const edges: EdgeAt[] = [];
  for (const rttMs of roundTripsMs) {
    const edge = rttMs === 0 ? { url: stack.edge.url, wires: [] } : await stack.edgeAt(rttMs);
    edges.push({ rttMs, url: edge.url, wires: edge.wires });
  }
  return edges;
}

interface Ask {
  readonly model: string;
  readonly prompt: string;
  readonly maxTokens: number;
}

async function compare(
  { rttMs, url, wires }: EdgeAt,
  placements: readonly PlacementMode[],
  { model, prompt, maxTokens }: Ask,
): Promise<Sample[]> {
  const passed = () => (wires.length === 0 ? null : wires.reduce((sum, { bytes }) => sum + bytes, 0));
  const samples: Sample[] = [];
  for (const method of Object.keys(METHODS) as Method[]) {
    for (const placement of placements) {
      const before = passed();
      const speculation = { ...METHODS[method], placement };
      const client = { url, model, key: null };
      const { tokensPerSecond, tokens } = await timeAnswer(client, { content: prompt }, maxTokens, speculation);
      const bytes = before === null ? null : passed()! - before;
      samples.push({ rttMs, method, placement, tokensPerSecond, tokens, bytes });
    }
  }
  return samples;
}

type Rates = Record<string, Record<string, Record<string, number>>>;

/** Tokens per second: [round trip, ms][method][placement], medians. */
function ratesOf(
  samples: readonly Sample[],
  roundTripsMs: readonly number[],
  placements: readonly PlacementMode[],
): Rates {
  const rate = (rttMs: number, method: string, placement: string) =>
    round(
      median(
        samples
          .filter((one) => one.rttMs === rttMs && one.method === method && one.placement === placement)
          .map(({ tokensPerSecond }) => tokensPerSecond)
          // An answer of one piece has no time after it.
          .filter(Number.isFinite),
      ),
      1,
    );
  const each = <T>(keys: readonly (string | number)[], value: (key: string) => T) =>
    Object.fromEntries(keys.map((key) => [key, value(String(key))]));
  return each(roundTripsMs, (rttMs) =>
    each(Object.keys(METHODS), (method) => each(placements, (placement) => rate(Number(rttMs), method, placement))),
  );
}

/** Over all answers that crossed a wire. */
function bytesPerToken(samples: readonly Sample[], method: Method) {
  const of = (placement: PlacementMode) => {
    const counted = samples.filter((one) => one.bytes !== null && one.placement === placement && one.method === method);
    const tokens = counted.reduce((sum, one) => sum + one.tokens, 0);
    return tokens === 0 ? null : round(counted.reduce((sum, one) => sum + one.bytes!, 0) / tokens, 1);
  };
  return { edge: of("edge"), gpu: of("gpu") };
}

function print(rates: Rates): void {
  for (const [rttMs, methods] of Object.entries(rates)) {
    for (const [method, own] of Object.entries(methods)) {
      const cells = Object.entries(own).map(([placement, rate]) => `${placement} ${rate.toFixed(1).padStart(6)}`);
      console.log(`round trip ${rttMs.padStart(3)} ms  ${method.padEnd(8)} ${cells.join("  ")} tokens/s`);
    }
  }
}

function readOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      prompts: { type: "string" },
      limit: { type: "string" },
      "per-category": { type: "string" },
      rtt: { type: "string", default: ROUND_TRIPS_MS.join() },
      placements: { type: "string", default: PLACEMENTS.join() },
      "max-tokens": { type: "string", default: "96" },
      rounds: { type: "string", default: "1" },
    },
  });
  return {
    bundle: values.bundle,
    prompts: values.prompts ?? null,
    split: null,
    limit: count("--limit", values.limit),
    perCategory: count("--per-category", values["per-category"]),
    roundTripsMs: values.rtt.split(",").map((text) => (text === "0" ? 0 : count("--rtt", text, LONGEST_MS)!)),
    placements: values.placements.split(",").map(placementOf),
    maxTokens: count("--max-tokens", values["max-tokens"], 1000)!,
    rounds: count("--rounds", values.rounds, 1000)!,
  };
}

function placementOf(text: string): PlacementMode {
  const known = PLACEMENTS.find((one) => one === text);
  if (known === undefined) throw new Error(`--placements: ${PLACEMENTS.join(", ")}, not "${text}"`);
  return known;
}
