import { availableParallelism } from "node:os";
import type { BundleInfo } from "../shared/engine.ts";
import { type Bundle, bundleInfo, readBundle } from "./bundle.ts";
import { measureCosts } from "./cost-curve.ts";
import { type EngineOptions, SessionEngine } from "./engine.ts";
import type { Model } from "./model.ts";
import type { NeuralModel } from "./neural.ts";
import { loadNeural } from "./onnx/neural.ts";
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
  /** null: the bundle has none. */
  readonly neural: NeuralModel | null;
  readonly runner: ModelRunner;
}

/** Reads, checks, loads and measures a compiled bundle on the calling thread. */
export async function loadRunner(bundleDir: string, options: RunnerOptions = {}): Promise<LoadedRunner> {
  const { provider = "cpu", threads = availableParallelism(), spinning = true } = options;
  const bundle = await readBundle(bundleDir);
  const model = await loadModel(bundle, { provider, threads, spinning });
  const neural = bundle.neuralPath === null ? null : await loadNeural(bundle.neuralPath);
  const costCurve = await measureCosts(model, () => performance.now());
  const info = bundleInfo(bundle, provider, costCurve);
  const runner = new ModelRunner(model, options.kvLimitBytes ?? KV_LIMIT_BYTES, neural);
  return { bundle, info, model, neural, runner };
}

export type LocalOptions = RunnerOptions & EngineOptions;

class LocalEngine extends SessionEngine {
  readonly #loaded: LoadedRunner;

  constructor(loaded: LoadedRunner, options: EngineOptions) {
    super(loaded.runner, loaded.info, options);
    this.#loaded = loaded;
  }

  override async close(): Promise<void> {
    await super.close();
    await this.#loaded.model.release();
    await this.#loaded.neural?.release();
  }
}

/** The engine with its model on the calling thread, which each forward pass blocks: for evaluation and benchmarks. */
export async function createLocalEngine(bundleDir: string, options: LocalOptions = {}): Promise<SessionEngine> {
  return new LocalEngine(await loadRunner(bundleDir, options), options);
}
