import ort from "onnxruntime-node";
import { createLattice } from "../../shared/lattice.ts";
import type { HeadsOutput, ModelShape } from "../model.ts";
import { float32, int32, loadGraph, type OnnxOptions } from "./session.ts";

/** The draft heads: features [S, F width] and bonus tokens [S] of S sessions -> their lattices. */
export interface HeadsGraph {
  run(features: Float32Array, bonus: Int32Array): Promise<HeadsOutput[]>;
  release(): Promise<void>;
}

/** null for a model without heads. Throws Error where the graph cannot be loaded or lacks what is needed of it. */
export async function loadHeads(
  path: string | null,
  shape: ModelShape,
  options: OnnxOptions,
): Promise<HeadsGraph | null> {
  const { latticeHeads, topK, copyHeads } = shape;
  if (path === null || latticeHeads === 0) return null;
  const gated = copyHeads !== null;
  const outputs = ["tokens", "log_probs", ...(gated ? ["gate"] : [])];
  const session = await loadGraph(path, options, { inputs: ["hidden", "bonus"], outputs });
  const cells = latticeHeads * topK;
  return {
    async run(features, bonus) {
      const sessions = bonus.length;
      const got = await session.run({
        hidden: new ort.Tensor("float32", features, [sessions, features.length / sessions]),
        bonus: new ort.Tensor("int32", bonus, [sessions]),
      });
      const tokens = int32(got, "tokens", sessions * cells);
      const logProbs = float32(got, "log_probs", sessions * cells);
      // Rounding may lift the log-probability of a near certainty above 0.
      for (let i = 0; i < logProbs.length; i++) if (logProbs[i]! > 0) logProbs[i] = 0;
      const ids = new Uint32Array(tokens.buffer, tokens.byteOffset, tokens.length);
      const queries = session.outputNames.includes("query") ? float32(got, "query", -1) : null;
      const width = queries === null ? 0 : queries.length / sessions;
      const gates = gated ? float32(got, "gate", sessions * latticeHeads) : null;
      return Array.from({ length: sessions }, (_, s) => ({
        lattice: createLattice(
          latticeHeads,
          topK,
          ids.subarray(s * cells, (s + 1) * cells),
          logProbs.subarray(s * cells, (s + 1) * cells),
        ),
        gate: gates?.subarray(s * latticeHeads, (s + 1) * latticeHeads) ?? null,
        query: queries?.subarray(s * width, (s + 1) * width) ?? null,
      }));
    },
    release: () => session.release(),
  };
}
