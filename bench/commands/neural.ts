import { parseArgs } from "node:util";
import { readBundle } from "../../gpu-worker/bundle.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { loadNeural } from "../../gpu-worker/onnx/neural.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { EMPTY_TREE } from "../../shared/draft-tree.ts";
import { createLattice } from "../../shared/lattice.ts";
import { median, round } from "../decode/stats.ts";

export const NEURAL_HELP = `npm run bench -- neural [options]
Time of the local rescorer alone and within a step.
  --bundle NAME   (smollm2-135m)`;

const ROUNDS = 60;
/** Committed tokens to read before a lattice: those of a step, and a prompt's end. */
const READ = [1, 2, 4, 64];

/** Medians, ms. */
export interface NeuralCosts {
  readonly bundle: string;
  readonly stateSize: number;
  /** Committed tokens read -> the whole rescoring of one full lattice. */
  readonly rescoreMs: Readonly<Record<string, number>>;
  /** A step without draft, base and heads, and the same with local rescoring, in turn in one run. */
  readonly stepMs: number;
  readonly stepWithNeuralMs: number;
}

/** Times the local rescorer alone and within a step. */
export async function benchNeural(args: readonly string[]): Promise<NeuralCosts> {
  const options = { bundle: { type: "string", default: "smollm2-135m" } } as const;
  const { values } = parseArgs({ args: [...args], options });
  const dir = await ensureBundle(values.bundle);
  const { neuralPath, shape } = await readBundle(dir);
  if (neuralPath === null) throw new Error(`bundle ${values.bundle} has no local rescorer`);
  const { latticeHeads, topK, vocabSize } = shape;

  const model = await loadNeural(neuralPath);
  const tokens = Uint32Array.from({ length: latticeHeads * topK }, (_, i) => (i * 7919 + 11) % vocabSize);
  const logProbs = Float32Array.from(tokens, (_, i) => -1 - (i % topK) / 2);
  const lattice = createLattice(latticeHeads, topK, tokens, logProbs);
  const state = new Float32Array(model.size);
  const copied = new Float32Array(latticeHeads * topK);
  const rescoreMs: Record<string, number> = {};
  for (const count of READ) {
    const committed = Array.from({ length: count }, (_, at) => (at * 104_729 + 5) % vocabSize);
    const times: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      const at = performance.now();
      await model.run({ state, committed, bonus: 9, lattice, copied, alpha: 0.5 });
      times.push(performance.now() - at);
    }
    rescoreMs[count] = round(median(times));
  }
  const stateSize = model.size;
  await model.release();
  const [stepMs, stepWithNeuralMs] = await steps(dir, values.bundle, vocabSize, latticeHeads, topK);
  const result = { bundle: values.bundle, stateSize, rescoreMs, stepMs, stepWithNeuralMs };
  console.log(`local rescoring of one lattice, ms by committed tokens read: ${JSON.stringify(rescoreMs)}`);
  console.log(`a step without draft: ${stepMs} ms; with local rescoring: ${stepWithNeuralMs} ms`);
  return result;
}

/** Medians of the time in the graphs, without and with local rescoring. */
async function steps(dir: string, model: string, vocabSize: number, heads: number, topK: number) {
  const engine = await createInProcessEngine(dir);
  const signal = new AbortController().signal;
  const prompt = Uint32Array.from({ length: 64 }, (_, i) => (i * 7919 + 11) % vocabSize);
  const sampling = { temperature: 0, topP: 1, seed: 0 };
  const spec = { model, prompt, heads, topK, sampling, logProbs: null, fixed: true, tenant: "" };
  const sessions = [
    { session: await engine.open({ ...spec, neural: null }, signal), times: [] as number[] },
    { session: await engine.open({ ...spec, neural: 0.5 }, signal), times: [] as number[] },
  ];
  for (let index = 0; index < ROUNDS; index++) {
    for (const { session, times } of sessions) {
      times.push((await session.step(index, EMPTY_TREE, signal)).timing.modelMs);
    }
  }
  await engine.close();
  return sessions.map(({ times }) => round(median(times))) as [number, number];
}
