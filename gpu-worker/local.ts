import { availableParallelism } from "node:os";
import type { BundleInfo } from "../shared/engine.ts";
import { type Bundle, bundleInfo, readBundle } from "./bundle.ts";
import { measureCosts } from "./cost-curve.ts";
import { type EngineOptions, SessionEngine } from "./engine.ts";
import type { Model } from "./model.ts";
import { loadModel, type Provider } from "./onnx/session.ts";
import { ModelRunner } from "./runner.ts";

export interface RunnerOptions {
  /** Default "cpu". */
  readonly provider?: Provider;
  /** Threads of a forward pass; default: as many as the machine runs at once. */
  readonly threads?: number;
  /** Whether these threads wait busily for one another; default true. */
  readonly spinning?: boolean;
  /** Memory of all key/value caches together; default 2 GiB. */
  readonly kvLimitBytes?: number;
}

const KV_LIMIT_BYTES = 2 * 2 ** 30;

export interface LoadedRunner {
  readonly bundle: Bundle;
  readonly info: BundleInfo;
  readonly model: Model;
  readonly runner: ModelRunner;
}

/** Reads, checks, loads and measures a compiled bundle on the calling thread. */
export async function loadRunner(bundleDir: string, options: RunnerOptions = {}): Promise<LoadedRunner> {
  const { provider = "cpu", threads = availableParallelism(), spinning = true } = options;
  const bundle = await readBundle(bundleDir);
  const model = await loadModel(bundle, { provider, threads, spinning });
  const costCurve = await measureCosts(model, () => performance.now());
  const info = bundleInfo(bundle, provider, costCurve);
  return { bundle, info, model, runner: new ModelRunner(model, options.kvLimitBytes ?? KV_LIMIT_BYTES) };
}

export type LocalOptions = RunnerOptions & EngineOptions;

class LocalEngine extends SessionEngine {
  readonly #model: Model;

  constructor({ runner, info, model }: LoadedRunner, options: EngineOptions) {
    super(runner, info, options);
    this.#model = model;
  }

  override async close(): Promise<void> {
    await super.close();
    await this.#model.release();
  }
}

/** The engine with its model on the calling thread, which each forward pass blocks: for evaluation and benchmarks. */
export async function createLocalEngine(bundleDir: string, options: LocalOptions = {}): Promise<SessionEngine> {
  return new LocalEngine(await loadRunner(bundleDir, options), options);
}
