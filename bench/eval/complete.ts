import type { DecodeLimits } from "../../shared/decode/advance.ts";
import { decode } from "../../shared/decode/run.ts";
import type { OpenSpec, StepEngine, TokenLogProbs } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { Lattice } from "../../shared/lattice.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { noneRescorer } from "../../shared/rescore/none.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { type Counters, emptyCounters } from "./counters.ts";
import type { Method } from "./methods.ts";
import { BLANK_LATTICE, oracleRescorer, promptLookup } from "./outside.ts";
import { countEvent, recordRescorer, wireLattice, withLattices } from "./record.ts";

/** One greedy completion to make. */
export interface Task {
  readonly engine: StepEngine;
  /** Bundle name. */
  readonly model: string;
  readonly prompt: Uint32Array;
  readonly limits: DecodeLimits;
  /** Whether each step's draft is as large as pays here, as the served API has it, or always whole. */
  readonly autoNodes: boolean;
}

export interface Completion {
  /** The end-of-text token is the last one where there is one. */
  readonly output: TokenId[];
  readonly counters: Counters;
  /** One per output token, where asked for. */
  readonly logProbs: (TokenLogProbs | null)[];
  /** From the first token to the last: the steps and all that is done between them, ms. */
  decodeMs: number;
}

/** Packs by name, loaded once. */
export type Packs = ReadonlyMap<string, NgramModel>;

const NEVER = new AbortController().signal;

/**
 * Decodes `task` the way the edge does. `truth` is the plain greedy completion, which only the oracle
 * looks at.
 */
export async function complete(
  task: Task,
  method: Method,
  packs: Packs,
  truth: ArrayLike<TokenId>,
  logProbs: number | null = null,
): Promise<Completion> {
  const lookup = method.draft.type === "prompt-lookup";
  const engine = withLattices(task.engine, (lattice) => (lookup ? BLANK_LATTICE : wireLattice(lattice)));
  const counters = emptyCounters();
  const rescorer = recordRescorer(methodRescorer(method, packs, task.prompt.length, truth), counters);
  const neural = method.draft.type === "neural" ? method.draft.alpha : null;
  const spec = { ...greedySpec(task, method, logProbs), neural };
  return run(task, engine, rescorer, method.maxNodes, spec, counters);
}

/**
 * Plain decoding with the heads running all the same: the completion, and the lattice after each of its
 * tokens, as a speculative run would see it there.
 */
export async function traceCompletion(
  task: Task,
  heads: number,
  topK: number,
): Promise<{ readonly completion: Completion; readonly lattices: Lattice[] }> {
  const lattices: Lattice[] = [];
  const engine = withLattices(task.engine, (lattice) => {
    const seen = wireLattice(lattice);
    lattices.push(seen);
    return seen;
  });
  const spec = greedySpec(task, { heads, topK }, null);
  const completion = await run(task, engine, noneRescorer(), 0, spec, emptyCounters());
  return { completion, lattices };
}

function greedySpec(task: Task, method: Pick<Method, "heads" | "topK">, logProbs: number | null): OpenSpec {
  const sampling = { temperature: 0, topP: 1, seed: 0 };
  const { heads, topK } = method;
  return {
    model: task.model,
    prompt: task.prompt,
    heads,
    topK,
    sampling,
    logProbs,
    neural: null,
    fixed: !task.autoNodes,
    tenant: "",
  };
}

async function run(
  task: Task,
  engine: StepEngine,
  rescorer: Rescorer,
  maxNodes: number,
  spec: OpenSpec,
  counters: Counters,
): Promise<Completion> {
  const completion: Completion = { output: [], counters, logProbs: [], decodeMs: 0 };
  const { limits, autoNodes } = task;
  const request = { spec, limits, rescorer, maxNodes, autoNodes, tokenizerHash: null, elsewhere: null };
  let firstAt: number | null = null;
  for await (const event of decode(engine, { ...request, signal: NEVER, now: () => performance.now() })) {
    countEvent(counters, event);
    firstAt ??= performance.now();
    for (const { token, logProbs } of event.committed) {
      completion.output.push(token);
      completion.logProbs.push(logProbs);
    }
  }
  completion.decodeMs = firstAt === null ? 0 : performance.now() - firstAt;
  return completion;
}

function methodRescorer(method: Method, packs: Packs, promptLength: number, truth: ArrayLike<TokenId>): Rescorer {
  const { draft } = method;
  switch (draft.type) {
    case "plain":
    case "none":
    case "neural":
      return noneRescorer();
    case "ngram":
      return createRescorer(draft, draft.pack === null ? null : (packs.get(draft.pack.name) ?? null));
    case "tree":
      return createRescorer(
        draft,
        draft.pack === null ? null : (packs.get(draft.pack.name) ?? null),
        draft.calibration,
      );
    case "oracle":
      return oracleRescorer(promptLength, truth, draft.topK);
    case "prompt-lookup":
      return promptLookup();
  }
}
