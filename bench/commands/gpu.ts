import { availableParallelism, cpus } from "node:os";
import { parseArgs } from "node:util";
import { PROVIDERS, type Provider } from "../../gpu-worker/onnx/session.ts";
import { bundleName, ensureBundle } from "../../models/bundle.ts";
import type { Precision } from "../../shared/manifest.ts";
import { loadBundle } from "../eval/model.ts";
import { count, providerOf } from "../eval/options.ts";
import { firstLine, GPU_PROVIDERS, nvidiaCards } from "../gpu/device.ts";
import { type GpuFigures, measureGpu } from "../gpu/measure.ts";

/** No GPU was found: neither a result nor a fault of the command. */
const NONE_FOUND = 3;
const MOST_MINUTES = 600;

export const GPU_HELP = `npm run bench -- gpu [options]
What a GPU makes of a model: loading, passes of 1 to 64 rows by precision, context, prefill, decoding plain and with drafts.
Without a GPU it says so, and ends with exit code ${NONE_FOUND}. docs/deploy.md says what to carry to a machine without a network.
  --bundle NAME    or a GGUF file (smollm2-135m)
  --provider P     ${PROVIDERS.join(", ")} (${GPU_PROVIDERS.join(" and ")}, whichever start); cpu measures the processor the same way
  --minutes N      for all of it, compiling left out (10)
  --max-tokens N   per answer (128)`;

type Outcome = GpuFigures | { readonly error: string };

/** Every provider that starts, or the one asked for; what did not start is told with its reason. */
export async function benchGpu(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      provider: { type: "string" },
      minutes: { type: "string", default: "10" },
      "max-tokens": { type: "string", default: "128" },
    },
  });
  const asked = providerOf(values.provider);
  const providers = asked === null ? GPU_PROVIDERS : [asked];
  const minutes = Number(values.minutes);
  if (!(minutes > 0 && minutes <= MOST_MINUTES)) {
    throw new Error(`--minutes: from 0 to ${MOST_MINUTES}, not "${values.minutes}"`);
  }
  const maxTokens = count("--max-tokens", values["max-tokens"], 1024) ?? 1;
  const runs = providers.flatMap((provider) => precisionsOf(provider).map((precision) => ({ provider, precision })));
  const figures: Record<string, Record<string, Outcome>> = {};
  for (const { provider, precision } of runs) {
    console.error(`${provider}, ${precision} ...`);
    const seconds = (60 * minutes) / runs.length;
    const outcome = await measureOne(values.bundle, provider, precision, maxTokens, seconds);
    figures[provider] = { ...figures[provider], [precision]: outcome };
    console.error("error" in outcome ? outcome.error : table(outcome));
  }
  const measured = Object.values(figures).some((of) => Object.values(of).some((outcome) => !("error" in outcome)));
  const cards = await nvidiaCards();
  const found = measured && asked !== "cpu";
  if (!measured) {
    process.exitCode = NONE_FOUND;
    console.error(
      `No GPU was found: ${providers.join(" and ")} did not start. ${cards === null ? "" : `The driver names ${cards.join("; ")}.`}`,
    );
  }
  return {
    gpu_found: found,
    cards,
    figures,
    settings: {
      bundle: values.bundle,
      minutes,
      max_tokens: maxTokens,
      cpu: cpus()[0]?.model ?? "",
      threads: availableParallelism(),
      node: process.version,
    },
  };
}

/** Integer weights are for processors (gpu-worker/load.ts), and float16 is for what multiplies in it. */
function precisionsOf(provider: Provider): readonly Precision[] {
  return provider === "cpu" ? ["int8", "fp32"] : ["fp16", "fp32"];
}

async function measureOne(
  bundle: string,
  provider: Provider,
  precision: Precision,
  maxTokens: number,
  seconds: number,
): Promise<Outcome> {
  const dir = await ensureBundle(bundle, { precision });
  const text = await loadBundle(dir, await bundleName(dir));
  try {
    return await measureGpu(dir, text, provider, maxTokens, seconds);
  } catch (error) {
    return { error: firstLine(error) };
  }
}

function table(figures: GpuFigures): string {
  const curve = Object.entries(figures.c_ms).map(([rows, ms]) => `${rows}: ${ms}`);
  const drafted = Object.entries(figures.drafted).map(
    ([name, { tokens_per_s, speedup }]) => `${name} ${tokens_per_s} tok/s (${speedup}x)`,
  );
  return [
    `loaded in ${figures.load_s} s; ms by rows of a pass: ${curve.join(", ")}`,
    `prefill ${figures.prefill_tokens_per_s} tok/s, plain ${figures.plain_tokens_per_s} tok/s, ${drafted.join(", ")}`,
  ].join("\n");
}
