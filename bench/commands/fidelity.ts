import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { type LoadOptions, loadBundle as loadModel } from "../../gpu-worker/load.ts";
import { type Model, PAGE_TOKENS } from "../../gpu-worker/model.ts";
import { bundleName, ensureBundle } from "../../models/bundle.ts";
import { PRECISIONS, type Precision } from "../../shared/manifest.ts";
import { round } from "../decode/stats.ts";
import { loadBundle } from "../eval/model.ts";
import { count, providerOf } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";

/** Tokens that are read as a text of their own, and rows whose logits are in memory at once. */
const WINDOW = 256;
const ROWS = 64;
const MOST_TOKENS = 1_000_000;

export const FIDELITY_HELP = `npm run bench -- fidelity --text FILE [options]
What a precision loses of a model: perplexity of a text (UTF-8) by the float32 graph of the same weights and by the compiled model,
the Kullback-Leibler divergence between both, and how often their likeliest token is the same. Fails where more is lost than --most.
  --bundle NAME    or a GGUF file (smollm2-135m)
  --precision P    ${PRECISIONS.filter((one) => one !== "fp32").join(" or ")} (the bundle's own)
  --tokens N       of the text, in windows of ${WINDOW} (4096)
  --most X         per cent that perplexity may rise (2)
  --provider P     of the model that is judged (cpu);  --threads N  of both`;

export interface Fidelity {
  /** Positions whose next token was judged. */
  readonly tokens: number;
  readonly perplexity_fp32: number;
  readonly perplexity: number;
  readonly perplexity_rise_percent: number;
  /** Nats per position, of the judged model from the float32 graph. */
  readonly kl_nats: number;
  readonly same_likeliest_percent: number;
}

export async function benchFidelity(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      precision: { type: "string" },
      text: { type: "string" },
      tokens: { type: "string", default: "4096" },
      most: { type: "string", default: "2" },
      provider: { type: "string" },
      threads: { type: "string" },
    },
  });
  if (values.text === undefined) throw new Error("--text FILE is needed (--help)");
  const most = Number(values.most);
  if (!(most > 0)) throw new Error(`--most takes per cent above 0, not "${values.most}"`);
  const wanted = count("--tokens", values.tokens, MOST_TOKENS) ?? 1;
  const threads = count("--threads", values.threads, 256);
  const provider = providerOf(values.provider) ?? "cpu";
  const settings: LoadOptions = threads === null ? {} : { threads };
  const named = { precision: values.precision as Precision | undefined, provider };
  const dir = await ensureBundle(values.bundle, named);
  const source = await ensureBundle(values.bundle, { precision: "fp32" });
  if (dir === source) throw new Error(`${values.bundle} is float32 itself: --precision names another`);
  const { text } = await loadBundle(dir, await bundleName(dir));
  const tokens = text.prompt(await readFile(values.text, "utf8")).subarray(0, wanted);
  const [reference, judged] = [await loadModel(source, settings), await loadModel(dir, { ...settings, provider })];
  try {
    const fidelity = await compare(reference.model, judged.model, tokens);
    const { perplexity_fp32, perplexity, perplexity_rise_percent: rise, kl_nats, same_likeliest_percent } = fidelity;
    console.log(
      `${judged.bundle.name}, ${judged.bundle.precision}: perplexity ${perplexity_fp32} in float32, ${perplexity} (${rise} %) here; ` +
        `${kl_nats} nats apart, the same likeliest token ${same_likeliest_percent} % of the time`,
    );
    if (rise > most) {
      process.exitCode = 1;
      console.error(`more is lost than the ${most} % that --most allows`);
    }
    return {
      bundle: judged.bundle.name,
      precision: judged.bundle.precision,
      provider,
      most_percent: most,
      ...fidelity,
    };
  } finally {
    await Promise.all([reference, judged].flatMap(({ model, neural }) => [model.release(), neural?.release()]));
  }
}

/** Both models over `tokens`, window by window. Throws Error where there are not two of them. */
export async function compare(reference: Model, judged: Model, tokens: Uint32Array): Promise<Fidelity> {
  const sums = { positions: 0, reference: 0, judged: 0, divergence: 0, same: 0 };
  const bar = new Progress(Math.ceil(tokens.length / WINDOW));
  for (let start = 0; start < tokens.length; start += WINDOW) {
    const window = tokens.subarray(start, start + WINDOW);
    for (let at = 0; at < window.length; at += ROWS) {
      const rows = window.subarray(at, at + ROWS);
      const [ours, theirs] = [await logProbs(judged, rows, at), await logProbs(reference, rows, at)];
      for (const [row, own] of ours.entries()) {
        const next = window[at + row + 1];
        if (next === undefined) continue;
        const exact = theirs[row]!;
        sums.positions++;
        sums.reference -= exact[next]!;
        sums.judged -= own[next]!;
        sums.divergence += divergence(exact, own);
        if (likeliest(exact) === likeliest(own)) sums.same++;
      }
    }
    bar.step();
  }
  bar.stop();
  const { positions } = sums;
  if (positions === 0) throw new Error("the text has no two tokens");
  const [before, after] = [Math.exp(sums.reference / positions), Math.exp(sums.judged / positions)];
  return {
    tokens: positions,
    perplexity_fp32: round(before),
    perplexity: round(after),
    perplexity_rise_percent: round(100 * (after / before - 1), 2),
    kl_nats: round(sums.divergence / positions, 5),
    same_likeliest_percent: round((100 * sums.same) / positions, 1),
  };
}

/** [rows] of [vocabulary], after `length` tokens of the same window. */
async function logProbs(model: Model, tokens: Uint32Array, length: number): Promise<Float32Array[]> {
  const pages = Int32Array.from({ length: Math.ceil((length + tokens.length) / PAGE_TOKENS) }, (_, i) => i);
  const segment = { length, pages, tokens, parents: null, wanted: "all", logits: true } as const;
  const { logits } = await model.forward([segment]);
  return Array.from(tokens, (_, row) => logSoftmax(logits(row)));
}

function logSoftmax(logits: Float32Array): Float32Array {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of logits) most = Math.max(most, value);
  let mass = 0;
  for (const value of logits) mass += Math.exp(value - most);
  const all = most + Math.log(mass);
  return logits.map((value) => value - all);
}

/** sum p (log p - log q) */
function divergence(p: Float32Array, q: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.exp(p[i]!) * (p[i]! - q[i]!);
  return sum;
}

function likeliest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
