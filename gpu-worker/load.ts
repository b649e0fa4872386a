import { availableParallelism } from "node:os";
import type { BundleInfo } from "../shared/engine.ts";
import type { Grammars } from "../shared/grammar/grammars.ts";
import { bundleInfo, type EngineBundle, readBundle } from "./bundle.ts";
import { defaultCacheDir } from "./config.ts";
import { readGrammars } from "./grammars.ts";
import { GraphModel } from "./graph/model.ts";
import { IntegerModel } from "./integer/model.ts";
import type { Model } from "./model.ts";
import type { NeuralModel } from "./neural.ts";
import { loadHeads } from "./onnx/heads.ts";
import { loadNeural } from "./onnx/neural.ts";
import type { Provider } from "./onnx/session.ts";

export interface LoadOptions {
  /** Default "cpu". */
  readonly provider?: Provider;
  /** Threads of a pass; default: as many as the machine runs at once. */
  readonly threads?: number;
  /** Memory of the key/value cache; default 2 GiB. */
  readonly kvLimitBytes?: number;
  /** Where compiled code is kept; default as for bundles. */
  readonly cacheDir?: string;
}

const KV_LIMIT_BYTES = 2 * 2 ** 30;

export interface LoadedModel {
  readonly bundle: EngineBundle;
  readonly info: BundleInfo;
  readonly model: Model;
  /** null: the bundle has none. */
  readonly neural: NeuralModel | null;
  readonly grammars: Grammars;
}

/** Reads, checks and loads a compiled bundle on the calling thread. Throws Error saying what is wrong. */
export async function loadBundle(bundleDir: string, options: LoadOptions): Promise<LoadedModel> {
  const { provider = "cpu" } = options;
  const bundle = await readBundle(bundleDir);
  const model = await loadModel(bundle, options);
  const neural = bundle.neuralPath === null ? null : await loadNeural(bundle.neuralPath);
  const grammars = await readGrammars(bundle.tokenizerPath, bundle.eosTokens);
  return { bundle, info: bundleInfo(bundle, provider, model.pages), model, neural, grammars };
}

async function loadModel(bundle: EngineBundle, options: LoadOptions): Promise<Model> {
  const { provider = "cpu", threads = availableParallelism(), kvLimitBytes = KV_LIMIT_BYTES } = options;
  const { shape, basePath, headsPath, ropeFrequencies } = bundle;
  // Elsewhere the past is in this memory anyway, or (CUDA's binding) comes back to it.
  const pastPath = provider === "webgpu" ? bundle.pastPath : null;
  if (bundle.precision !== "int8") {
    const model = await GraphModel.load({
      shape,
      basePath,
      headsPath,
      pastPath,
      provider,
      threads,
      kvBytes: kvLimitBytes,
    });
    if (bundle.precision === "fp16") await tryHalves(model, bundle.name, provider);
    return model;
  }
  if (provider !== "cpu") {
    throw new Error(
      `bundle ${bundle.name} has integer weights, for CPUs; for ${provider}: npm run bundle -- ${bundle.name} --precision fp16`,
    );
  }
  // Medusa's heads are a graph beside a model in integers, too.
  const headsGraph = headsPath?.endsWith(".onnx") ? await loadHeads(headsPath, shape, { provider, threads }) : null;
  return await IntegerModel.load({
    shape: { ...shape, kvBytes: kvLimitBytes, members: threads },
    ropeFrequencies,
    weightsPath: basePath,
    headsPath: shape.latticeHeads === 0 || headsGraph !== null ? null : headsPath,
    headsGraph,
    cacheDir: options.cacheDir ?? defaultCacheDir(),
  });
}

/** Providers take a graph of float16 and fail in its first pass where the device has none. */
async function tryHalves(model: Model, name: string, provider: Provider): Promise<void> {
  const [pages, tokens] = [Int32Array.of(0), Uint32Array.of(0)];
  try {
    await model.forward([{ length: 0, pages, tokens, parents: null, wanted: "last", logits: false }]);
  } catch (error) {
    await model.release();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`bundle ${name} in float16 does not run on ${provider} here (--precision fp32 may): ${reason}`);
  }
}
