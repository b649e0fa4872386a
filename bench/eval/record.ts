import type { StepEvent } from "../../shared/decode/run.ts";
import type { StepEngine, StepResult } from "../../shared/engine.ts";
import { createLattice, type Lattice } from "../../shared/lattice.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { type Counters, countEntropy, countRepetition, countStep, firstPath, stepRecord } from "./counters.ts";

/** Counts one event of the decode loop; the prefill's token is output but no step. */
export function countEvent(into: Counters, event: StepEvent): void {
  const kept = event.committed.length;
  if (event.call === 0) into.outputTokens += kept;
  else if (event.verified !== null) {
    countStep(into, stepRecord(event.verified.tree, event.verified.accepted.length, kept));
  }
}

/** The engine as the edge sees it: every lattice goes through `change`, prefill's first. */
export function withLattices(engine: StepEngine, change: (lattice: Lattice) => Lattice): StepEngine {
  const seen = (result: StepResult): StepResult => ({ ...result, lattice: change(result.lattice) });
  return {
    async open(spec, signal) {
      const session = await engine.open(spec, signal);
      return {
        bundle: session.bundle,
        cachedTokens: session.cachedTokens,
        opened: seen(session.opened),
        step: async (index, draft, stepSignal) => seen(await session.step(index, draft, stepSignal)),
        close: () => session.close(),
      };
    },
  };
}

/** Log-probabilities rounded to float16, as the wire carries them; so live counts equal replayed ones. Query and gates stay. */
export function wireLattice(lattice: Lattice): Lattice {
  const logProbs = Float32Array.from(new Float16Array(lattice.logProbs));
  return createLattice(lattice.heads, lattice.k, lattice.tokens, logProbs, lattice.query, lattice.gates);
}

/** Counts entropies of the lattices, and repeated neighbours before and after refinement. */
export function recordRescorer(rescorer: Rescorer, counters: Counters): Rescorer {
  return {
    calibrated: rescorer.calibrated ?? false,
    commit: (tokens, runnersUp) => rescorer.commit(tokens, runnersUp),
    draft(lattice, maxNodes, scope) {
      const tree = rescorer.draft(lattice, maxNodes, scope);
      const path = firstPath(tree);
      // The same depth on both sides, so that a shorter draft does not look less repetitive.
      const rows = Math.min(path.length, lattice.heads);
      countRepetition(counters.after, path);
      countRepetition(
        counters.before,
        Array.from({ length: rows }, (_, i) => lattice.tokens[i * lattice.k]!),
      );
      countEntropy(counters, lattice);
      return tree;
    },
  };
}
