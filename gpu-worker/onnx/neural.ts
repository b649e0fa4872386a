import ort from "onnxruntime-node";
import type { NeuralInputs, NeuralModel, NeuralOutputs } from "../neural.ts";
import { float32, loadGraph } from "./session.ts";

/** Throws Error where the graph cannot be loaded or lacks what is needed of it. */
export async function loadNeural(path: string): Promise<NeuralModel> {
  // One row at a time through a few small matrices: a second thread costs more than it helps, a GPU much more.
  const inputs = ["state", "committed", "bonus", "tokens", "log_probs", "copied", "alpha"];
  const session = await loadGraph(path, { provider: "cpu", threads: 1 }, { inputs, outputs: ["next_state", "scores"] });
  const state = session.inputMetadata.find(({ name }) => name === "state");
  const size = state?.isTensor ? state.shape[1] : undefined;
  if (typeof size !== "number") throw new Error(`${path}: its state has no width`);
  return new OnnxNeural(session, size);
}

class OnnxNeural implements NeuralModel {
  readonly size: number;
  readonly #session: ort.InferenceSession;

  constructor(session: ort.InferenceSession, size: number) {
    this.#session = session;
    this.size = size;
  }

  async run({ state, committed, bonus, lattice, copied, alpha }: NeuralInputs): Promise<NeuralOutputs> {
    const shape = [lattice.heads, lattice.k];
    const outputs = await this.#session.run({
      state: new ort.Tensor("float32", state, [1, this.size]),
      committed: new ort.Tensor("int32", Int32Array.from(committed), [committed.length]),
      bonus: new ort.Tensor("int32", Int32Array.of(bonus), [1]),
      tokens: new ort.Tensor("int32", Int32Array.from(lattice.tokens), shape),
      log_probs: new ort.Tensor("float32", lattice.logProbs, shape),
      copied: new ort.Tensor("float32", copied, shape),
      alpha: new ort.Tensor("float32", Float32Array.of(alpha), [1]),
    });
    return {
      state: float32(outputs, "next_state", this.size),
      scores: float32(outputs, "scores", lattice.heads * lattice.k),
    };
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}
