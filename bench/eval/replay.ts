import { CopySources, copiedMasses } from "../../gpu-worker/copy-heads.ts";
import { LocalRescorer, type NeuralModel } from "../../gpu-worker/neural.ts";
import { type DraftTree, findChild } from "../../shared/draft-tree.ts";
import { type BundleInfo, IDLE, type StepEngine, type StepResult } from "../../shared/engine.ts";
import { type NodeIndex, ROOT } from "../../shared/ids.ts";
import { EMPTY_LATTICE, type Lattice, narrowLattice } from "../../shared/lattice.ts";
import type { CopyHeads } from "../../shared/manifest.ts";
import { firstOf, joinRunnersUp, rowsOf } from "../../shared/runners-up.ts";
import type { Generation } from "./trace.ts";

const NO_TIME = { queueMs: 0, modelMs: 0, engineMs: 0 };

/**
 * An engine that answers from a recorded greedy completion instead of a model: the same decode loop and
 * rescorers run over it as over the model. Greedy decoding makes the answer depend on the committed
 * length alone. It serves one completion of that prompt; past its end the bonus token repeats the last
 * one, which no caller keeps. The local rescorer sees only committed tokens, lattices and what of these was copied
 * from those, so it really runs: `open` throws an Error where that cannot be told of a trace.
 * @param copyHeads null: the heads do not copy
 */
export function replayEngine(
  generation: Generation,
  bundle: BundleInfo,
  neural: NeuralModel | null,
  copyHeads: CopyHeads | null,
): StepEngine {
  const { output, lattices, runnersUp: stored } = generation;
  const last = output.length - 1;
  return {
    async open(spec) {
      let at = 0;
      const local = LocalRescorer.for(spec, neural);
      local?.commit(spec.prompt);
      const sources = local === null || copyHeads === null ? null : copySources(generation);
      for (const token of spec.prompt) sources?.push(token);
      const result = async (accepted: NodeIndex[]): Promise<StepResult> => {
        // Past the end the last row repeats, as the token does.
        const rows = Array.from({ length: accepted.length + 1 }, (_, i) => Math.min(at - accepted.length + i, last));
        const runnersUp = joinRunnersUp(rows.map((row) => firstOf(rowsOf(stored, row, row + 1), spec.runnersUp ?? 0)));
        const bonus = output[Math.min(at, output.length - 1)]!;
        const seen = narrowLattice(latticeAt(lattices, at), spec.heads, spec.topK);
        const heads = { ...seen, query: spec.pair ? seen.query : null };
        sources?.push(bonus);
        sources?.find();
        const rescored = await local?.rescore(heads, bonus, copiedMasses(heads, sources, copyHeads));
        const lattice = spec.heads === 0 ? EMPTY_LATTICE : (rescored ?? heads);
        return { accepted, bonus, lattice, logProbs: null, runnersUp, threshold: 0, timing: NO_TIME, load: IDLE };
      };
      return {
        bundle,
        cachedTokens: 0,
        opened: await result([]),
        async step(_index, draft) {
          const accepted = acceptedPath(draft, output, at + 1);
          const committed = output.subarray(at + 1, at + 1 + accepted.length);
          local?.commit(committed);
          for (const token of committed) sources?.push(token);
          at += accepted.length + 1;
          return result(accepted);
        },
        close() {},
      };
    },
  };
}

/** The committed text, from which and the gates it is known what of a lattice was copied. */
function copySources({ lattices }: Generation): CopySources {
  if (lattices.some(({ gates }) => gates == null))
    throw new Error("the trace lacks the gates of the heads that copy, which method neural needs: make it again");
  return new CopySources();
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
