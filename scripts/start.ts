import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { bundleName, type EnsureOptions, ensureBundle, WeightsUnavailable } from "../models/bundle.ts";
import { isGiven } from "../models/given.ts";
import { progressBar } from "../models/progress.ts";
import { checkFiles } from "../models/sound.ts";
import { PRECISIONS, type Precision } from "../shared/manifest.ts";

import { packWorth } from "./compare-packs.ts";

import { edgeStateDir, ensureAdminKey, keyHash } from "./edge-state.ts";

import { freePort } from "./net.ts";
import { bundleWithPack, type PackedBundle } from "./own-pack.ts";
import { startStack } from "./stack.ts";

const DEFAULT_BUNDLE = "smollm2-135m";
const FALLBACK_BUNDLE = "tiny";

const MAX_WORKERS = 16;
const MAX_RTT_MS = 2_000;
/** Each is a workerd of its own. */
const MAX_EDGES = 4;

const HELP = `npm start -- [options]            each can be given as an environment variable instead
  --port N        the edge's port (PORT, 8787)
  --host ADDRESS  the edge's address (HOST, 127.0.0.1; 0.0.0.0 to reach the demo from a phone)
  --bundle NAME   the model to serve (FOREDRAFT_BUNDLE, ${DEFAULT_BUNDLE})
  --model FILE    in its place any GGUF file of a supported kind, a package (directory or .tar.gz), or hf:OWNER/REPO/FILE
                  of either (FOREDRAFT_MODEL); given several times, also with names, requests choose by "model"
  --heads FILE    draft heads for the one GGUF file that --model names: Medusa's, as safetensors
  --pack FILE     trains an n-gram pack on this text (.txt or .jsonl), drafts with it and says what it is worth
  --gpu-port N    the gpu-worker's port (GPU_WORKER_PORT, 8788)
  --provider P    cpu, webgpu or cuda (GPU_WORKER_PROVIDER, cpu)
  --precision P   ${PRECISIONS.join(", ")} (the model's own on cpu, fp16 on the others)
  --threads N     threads of the model on cpu (GPU_WORKER_THREADS)
  --workers N     gpu-workers, of which any may fail (1); their ports follow the first one's
  --rtt MS        round trip between edge and gpu-workers, put into the wire to feel the distance (0); 0,20,80 starts an
                  edge for each, and the demo lets its reader choose
  --anonymous BOOL  false: nobody may call without an API key, which npm run keys makes (ANONYMOUS, true)
  --cors-origins LIST   origins whose web pages may call beside the server's own, or * (CORS_ORIGINS)
  --allowed-hosts LIST  names it answers to on loopback beside addresses and localhost (ALLOWED_HOSTS)`;

const say = (line: string) => console.log(line);

/** OpenTelemetry's own variables, which the gpu-worker has from this process's environment. */
const TRACING = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_TRACES_SAMPLER_ARG"];

/** One stop for every reason to stop; a second signal changes nothing. */
const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stopping.abort());

try {
  await main();
} catch (error) {
  if (!stopping.signal.aborted) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
// Sockets kept alive by fetch's pool would hold the process for seconds.
process.exit();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: process.env.PORT ?? "8787" },
      host: { type: "string", default: process.env.HOST ?? "127.0.0.1" },
      bundle: { type: "string" },
      model: { type: "string", multiple: true },
      heads: { type: "string" },
      pack: { type: "string" },
      "gpu-port": { type: "string", default: process.env.GPU_WORKER_PORT ?? "8788" },
      provider: { type: "string" },
      precision: { type: "string" },
      threads: { type: "string" },
      workers: { type: "string", default: "1" },
      rtt: { type: "string", default: "0" },
      anonymous: { type: "string" },
      "cors-origins": { type: "string" },
      "allowed-hosts": { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return say(HELP);
  const port = portNumber(values.port, "--port");
  const gpuPort = portNumber(values["gpu-port"], "--gpu-port");
  const threads = values.threads === undefined ? undefined : wholeNumber(values.threads, "--threads", 1, 256);
  const workers = wholeNumber(values.workers, "--workers", 1, MAX_WORKERS);
  const [rttMs = 0, ...distances] = values.rtt.split(",").map((ms) => wholeNumber(ms, "--rtt", 0, MAX_RTT_MS));
  if (distances.length >= MAX_EDGES) throw new Error(`--rtt takes at most ${MAX_EDGES} distances`);
  // Before a long download, not after it.
  await checkFiles(askedFor(values));
  await freePort(values.host, port, "--port");
  await freePort("127.0.0.1", gpuPort, "--gpu-port");

  const bundles = await obtainBundles(askedFor(values), compiledFor(values));
  const [bundle, ...others] = bundles;
  const packed = values.pack === undefined ? null : await packedBundle(bundle, values.pack);
  const startedAt = performance.now();
  say(`Starting the gpu-worker (${bundles.map(({ name }) => name).join(", ")}) and the edge ...`);
  const stack = await startStack({
    bundle: bundle.name,
    bundleDir: packed?.dir ?? bundle.dir,
    // Beside its own bundle, so that a start without it goes on serving what it serves.
    ...(packed === null ? {} : { assetsDir: join(packed.dir, "..", "assets") }),
    others,
    host: values.host,
    port,
    gpuPort,
    provider: values.provider,
    threads,
    workers,
    rttMs,
    distances,
    log: say,
    signal: stopping.signal,
    stateDir: port === 0 ? undefined : join(edgeStateDir(port), "objects"),
    vars: {
      ...(await adminVars(port)),
      ...variable("ANONYMOUS", values.anonymous),
      ...Object.assign({}, ...TRACING.map((name) => variable(name, undefined))),
      ...variable("CORS_ORIGINS", values["cors-origins"]),
      ...variable("ALLOWED_HOSTS", values["allowed-hosts"]),
    },
    ...(process.env.GPU_WORKER_KEY ? { gpuKey: process.env.GPU_WORKER_KEY } : {}),
  });
  const seconds = (performance.now() - startedAt) / 1000;
  try {
    if (packed !== null) {
      say(`Comparing drafts with and without ${packed.pack.name} ...`);
      say(await packWorth(stack.edge.url, bundle.name, packed, stopping.signal));
    }
    say(greeting(stack.edge.url, bundle.name, seconds));
    const ended = await Promise.race([stopped(), stack.edge.ended]);
    if (ended !== undefined) throw new Error(`the edge ended (${ended}); everything is stopped`);
    say("\nStopping ...");
  } finally {
    await stack.close();
  }
}

/** The administrator's key: ADMIN_KEY, else one of this port's own, which npm run keys finds. */
async function adminVars(port: number): Promise<Record<string, string>> {
  const key = process.env.ADMIN_KEY || (port === 0 ? null : await ensureAdminKey(port));
  return key === null ? {} : { ADMIN_KEYS: keyHash(key) };
}

/** A variable of the Worker, where the option or this process's environment gives it. */
function variable(name: string, option: string | undefined): Record<string, string> {
  const value = option ?? process.env[name];
  return value === undefined ? {} : { [name]: value };
}

type Compiled = Pick<EnsureOptions, "heads" | "provider" | "precision">;

function compiledFor(values: Readonly<Partial<Record<keyof Compiled, string | undefined>>>): Compiled {
  const { heads, provider = process.env.GPU_WORKER_PROVIDER, precision } = values;
  return { heads, provider, precision: precision as Precision | undefined };
}

interface BundleFolder {
  readonly name: string;
  readonly dir: string;
}

/** What options and environment name, options first, the default model at the front; none: nothing. */
function askedFor(values: { bundle?: string | undefined; model?: string[] | undefined }): string[] {
  const { bundle, model } = values;
  if (bundle !== undefined && model !== undefined)
    throw new Error("--bundle and --model name one model each: take one");
  const fromEnvironment = process.env.FOREDRAFT_MODEL ? [process.env.FOREDRAFT_MODEL] : undefined;
  const named = model ?? (bundle === undefined ? fromEnvironment : undefined);
  if (named !== undefined) return named.map((one) => givenOrName(one, named.length));
  const name = bundle ?? process.env.FOREDRAFT_BUNDLE;
  return name === undefined ? [] : [name];
}

/** A directory by its whole path; among several models committed ones go by name. */
function givenOrName(model: string, count: number): string {
  if (isGiven(model)) return model;
  if (statSync(model, { throwIfNoEntry: false })?.isDirectory()) return resolve(model);
  if (count > 1) return model;
  throw new Error(`--model takes a file that ends in .gguf, a package or hf:OWNER/REPO/FILE of either, not "${model}"`);
}

/** Those asked for, at least one. */
async function obtainBundles(asked: readonly string[], how: Compiled): Promise<[BundleFolder, ...BundleFolder[]]> {
  if (how.heads !== undefined && asked.length !== 1) throw new Error("--heads goes with one --model FILE.gguf");
  const first = await obtainBundle(asked[0], how);
  const bundles: [BundleFolder, ...BundleFolder[]] = [first];
  for (const model of asked.slice(1)) bundles.push(await obtainBundle(model, how));
  const names = bundles.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new Error(`--model: two of them are called ${twice}; rename a file`);
  return bundles;
}

/** The bundle asked for; only where none was asked for does `tiny` stand in for weights out of reach. */
async function obtainBundle(asked: string | undefined, how: Compiled): Promise<BundleFolder> {
  const model = asked ?? DEFAULT_BUNDLE;
  const bar = progressBar(model);
  const { signal } = stopping;
  const onNotice = (line: string) => {
    bar.stop();
    say(line);
  };
  try {
    const dir = await ensureBundle(model, { ...how, signal, onProgress: bar.update, onNotice });
    return { name: await bundleName(dir), dir };
  } catch (error) {
    if (asked !== undefined || !(error instanceof WeightsUnavailable)) throw error;
    bar.stop();
    const line = "-".repeat(78);
    say(`${line}\nThe weights of ${model} could not be obtained:\n  ${error.message}`);
    say(`Serving the committed toy model "${FALLBACK_BUNDLE}" in its place: expect toy text.\n${line}`);
    return { name: FALLBACK_BUNDLE, dir: await ensureBundle(FALLBACK_BUNDLE, { ...how, signal, onNotice }) };
  } finally {
    bar.stop();
  }
}

/** The bundle with a pack of the user's own text. */
async function packedBundle({ dir }: BundleFolder, file: string): Promise<PackedBundle> {
  const bar = progressBar(file);
  try {
    return await bundleWithPack(dir, file, bar.update);
  } finally {
    bar.stop();
  }
}

function greeting(url: string, model: string, seconds: number): string {
  const body = `{"model":"${model}","messages":[{"role":"user","content":"Why is the sky blue?"}],"stream":true}`;
  return `Ready in ${seconds.toFixed(1)} s.

  Demo   ${url}/
  API    curl -N ${url}/v1/chat/completions -H 'content-type: application/json' -d '${body}'

Ctrl-C stops everything.`;
}

function stopped(): Promise<void> {
  const { signal } = stopping;
  return new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener("abort", () => done(), { once: true });
  });
}

function portNumber(text: string, option: string): number {
  return wholeNumber(text, option, 0, 65_535);
}

function wholeNumber(text: string, option: string, low: number, high: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < low || value > high) {
    throw new Error(`${option} must be a whole number from ${low} to ${high}, not "${text}"`);
  }
  return value;
}
