import ort from "onnxruntime-node";

/** Of onnxruntime: CUDA's libraries are not in its npm package (docs/deploy.md). */
export const PROVIDERS = ["cpu", "webgpu", "cuda"] as const;
export type Provider = (typeof PROVIDERS)[number];

export interface OnnxOptions {
  readonly provider: Provider;
  /** Threads of one call on the CPU. */
  readonly threads: number;
}

/** `locations` of outputs that do not come back to the CPU. Throws Error where the provider cannot start, or the graph lacks one of the names. */
export async function loadGraph(
  path: string,
  { provider, threads }: OnnxOptions,
  names: { readonly inputs: readonly string[]; readonly outputs: readonly string[] },
  locations: Readonly<Record<string, ort.Tensor.DataLocation>> = {},
): Promise<ort.InferenceSession> {
  const session = await create(path, provider, threads, locations);
  const missing = [
    ...names.inputs.filter((name) => !session.inputNames.includes(name)),
    ...names.outputs.filter((name) => !session.outputNames.includes(name)),
  ];
  if (missing.length > 0) throw new Error(`${path} lacks ${missing.join(", ")}`);
  return session;
}

async function create(
  path: string,
  provider: Provider,
  threads: number,
  locations: Readonly<Record<string, ort.Tensor.DataLocation>>,
): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(path, {
      executionProviders: [provider],
      preferredOutputLocation: locations,
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
      // Threads that wait busily answer sooner, but between calls the core belongs to others.
      extra: { session: { force_spinning_stop: "1" } },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`onnxruntime cannot load ${path} with the provider "${provider}": ${reason}`);
  }
}

export function int32(outputs: ort.InferenceSession.OnnxValueMapType, name: string, length: number): Int32Array {
  const data = outputs[name]?.data;
  if (!(data instanceof Int32Array) || data.length !== length)
    throw new Error(`output ${name} is no int32 [${length}]`);
  return data;
}

/** `length` -1 takes any. */
export function float32(outputs: ort.InferenceSession.OnnxValueMapType, name: string, length: number): Float32Array {
  const data = outputs[name]?.data;
  if (!(data instanceof Float32Array) || (length >= 0 && data.length !== length)) {
    throw new Error(`output ${name} is no float32 [${length}]`);
  }
  return data;
}
