import { LocalRescorer, type NeuralModel } from "../../gpu-worker/neural.ts";
import { type DraftTree, findChild } from "../../shared/draft-tree.ts";
import { type BundleInfo, IDLE, type StepEngine, type StepResult } from "../../shared/engine.ts";
import { type NodeIndex, ROOT } from "../../shared/ids.ts";
import { EMPTY_LATTICE, type Lattice, narrowLattice } from "../../shared/lattice.ts";
import { firstOf, joinRunnersUp, rowsOf } from "../../shared/runners-up.ts";
import type { Generation } from "./trace.ts";

const NO_TIME = { queueMs: 0, modelMs: 0, engineMs: 0 };

/**
 * An engine that answers from a recorded greedy completion instead of a model: the same decode loop and
 * rescorers run over it as over the model. Greedy decoding makes the answer depend on the committed
 * length alone. It serves one completion of that prompt; past its end the bonus token repeats the last
 * one, which no caller keeps. The local rescorer sees only committed tokens and lattices, so it really runs.
 */
export function replayEngine(generation: Generation, bundle: BundleInfo, neural: NeuralModel | null): StepEngine {
  const { output, lattices, runnersUp: stored } = generation;
  const last = output.length - 1;
  return {
    async open(spec) {
      let at = 0;
      const local = LocalRescorer.for(spec, neural);
      local?.commit(spec.prompt);
      const result = async (accepted: NodeIndex[]): Promise<StepResult> => {
        // Past the end the last row repeats, as the token does.
        const rows = Array.from({ length: accepted.length + 1 }, (_, i) => Math.min(at - accepted.length + i, last));
        const runnersUp = joinRunnersUp(rows.map((row) => firstOf(rowsOf(stored, row, row + 1), spec.runnersUp ?? 0)));
        const bonus = output[Math.min(at, output.length - 1)]!;
        const seen = narrowLattice(latticeAt(lattices, at), spec.heads, spec.topK);
        const heads = { ...seen, query: spec.pair ? seen.query : null };
        const lattice = spec.heads === 0 ? EMPTY_LATTICE : ((await local?.rescore(heads, bonus)) ?? heads);
        return { accepted, bonus, lattice, logProbs: null, runnersUp, threshold: 0, timing: NO_TIME, load: IDLE };
      };
      return {
        bundle,
        cachedTokens: 0,
        opened: await result([]),
        async step(_index, draft) {
          const accepted = acceptedPath(draft, output, at + 1);
          local?.commit(output.subarray(at + 1, at + 1 + accepted.length));
          at += accepted.length + 1;
          return result(accepted);
        },
        close() {},
      };
    },
  };
}

function latticeAt(lattices: readonly Lattice[], at: number): Lattice {
  return lattices[Math.min(at, lattices.length - 1)] ?? EMPTY_LATTICE;
}

function acceptedPath(draft: DraftTree, output: Uint32Array, from: number): NodeIndex[] {
  const accepted: NodeIndex[] = [];
  let node = ROOT;
  for (let i = from; i < output.length; i++) {
    node = findChild(draft, node, output[i]!);
    if (node < 0) break;
    accepted.push(node);
  }
  return accepted;
}
