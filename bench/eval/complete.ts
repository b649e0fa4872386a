import { ReceiptBook } from "../../shared/decode/receipt.ts";
import { decode } from "../../shared/decode/run.ts";
import type { DecodeLimits } from "../../shared/decode/run-request.ts";
import type { OpenSpec, StepEngine, TokenLogProbs } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { Lattice } from "../../shared/lattice.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer, engineWork, NO_WORK } from "../../shared/rescore/index.ts";
import type { EngineWork } from "../../shared/rescore/module.ts";
import { chainOfFirst } from "../../shared/rescore/none.ts";
import type { PairTables } from "../../shared/rescore/pair-scores.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { joinRunnersUp, type RunnersUp } from "../../shared/runners-up.ts";
import { copiedTokens } from "./copied.ts";
import { type Counters, countCopied, emptyCounters } from "./counters.ts";
import { type DraftSpec, isRefined, type Method } from "./methods.ts";
import { BLANK_LATTICE, oracleRescorer, promptLookup } from "./outside.ts";
import { countEvent, recordRescorer, wireLattice, withLattices } from "./record.ts";
import { countReliability } from "./reliability.ts";
import { staticTreeOfHeads, tokenRecycling } from "./static-tree.ts";
import { TRACED_RUNNERS_UP } from "./trace.ts";

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
  /** By model call, where asked for. */
  readonly runnersUp: RunnersUp[];
  /** From the first token to the last: the steps and all that is done between them, ms. */
  decodeMs: number;
}

/** What of a bundle's files rescorers are made from, loaded once. */
export interface Parts {
  /** By name. */
  readonly packs: ReadonlyMap<string, NgramModel>;
  /** null: no method looks at them. */
  readonly pair: PairTables | null;
}

/** Of methods that need none. */
export const NO_PARTS: Parts = { packs: new Map(), pair: null };

const NEVER = new AbortController().signal;

/**
 * Decodes `task` the way the edge does. `truth` is the plain greedy completion, which only the oracle
 * looks at.
 */
export async function complete(
  task: Task,
  method: Method,
  parts: Parts,
  truth: ArrayLike<TokenId>,
  logProbs: number | null = null,
): Promise<Completion> {
  const lookup = method.draft.type === "prompt-lookup";
  const engine = withLattices(task.engine, (lattice) => (lookup ? BLANK_LATTICE : wireLattice(lattice)));
  const counters = emptyCounters();
  const rescorer = recordRescorer(methodRescorer(method, parts, task.prompt.length, truth), counters);
  const spec = { ...greedySpec(task, method, logProbs), ...workOf(method.draft) };
  return run(task, engine, rescorer, method.maxNodes, spec, counters);
}

/**
 * Plain decoding with the heads running all the same: the completion, and the lattice after each of its
 * tokens, with its query where the bundle has one, as a speculative run would see it there.
 */
export async function traceCompletion(
  task: Task,
  { latticeHeads: heads, topK, graphs }: Pick<BundleManifest, "latticeHeads" | "topK" | "graphs">,
): Promise<{ readonly completion: Completion; readonly lattices: Lattice[]; readonly runnersUp: RunnersUp }> {
  const lattices: Lattice[] = [];
  const engine = withLattices(task.engine, (lattice) => {
    const seen = wireLattice(lattice);
    lattices.push(seen);
    return seen;
  });
  const all = { runnersUp: TRACED_RUNNERS_UP, pair: graphs.pair != null };
  const spec = { ...greedySpec(task, { heads, topK }, null), ...all };
  const completion = await run(task, engine, chainOfFirst(), 0, spec, emptyCounters());
  return { completion, lattices, runnersUp: joinRunnersUp(completion.runnersUp) };
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
  const completion: Completion = { output: [], counters, logProbs: [], runnersUp: [], decodeMs: 0 };
  const { limits, autoNodes } = task;
  const request = { spec, limits, rescorer, maxNodes, autoNodes, tokenizerHash: null, elsewhere: null };
  const book = new ReceiptBook();
  const committed: number[] = [];
  let firstAt: number | null = null;
  for await (const event of decode(engine, { ...request, signal: NEVER, now: () => performance.now() })) {
    countEvent(counters, event);
    book.record(event);
    committed.push(event.committed.length);
    const { verified } = event;
    if (rescorer.calibrated === true && verified !== null)
      countReliability(counters.reliability, verified.tree, verified.accepted);
    firstAt ??= performance.now();
    if (event.runnersUp !== undefined) completion.runnersUp.push(event.runnersUp);
    for (const { token, logProbs } of event.committed) {
      completion.output.push(token);
      completion.logProbs.push(logProbs);
    }
  }
  counters.receipt = book.close().receipt;
  const copied = copiedTokens(task.prompt, completion.output);
  let at = committed[0] ?? 0;
  // The first event is the prefill, which is no step.
  for (const tokens of committed.slice(1)) {
    countCopied(counters, copied.slice(at, at + tokens));
    at += tokens;
  }
  completion.decodeMs = firstAt === null ? 0 : performance.now() - firstAt;
  return completion;
}

/** What a method asks of the engine beside lattices. */
function workOf(draft: DraftSpec): EngineWork {
  if (isRefined(draft)) return engineWork(draft);
  if (draft.type !== "static-tree") return NO_WORK;
  return { ...NO_WORK, neural: draft.neural, runnersUp: draft.source === "recycled" ? LIMITS.runnersUp : 0 };
}

function methodRescorer(
  method: Method,
  { packs, pair }: Parts,
  promptLength: number,
  truth: ArrayLike<TokenId>,
): Rescorer {
  const { draft } = method;
  switch (draft.type) {
    case "plain":
      return chainOfFirst();
    case "oracle":
      return oracleRescorer(promptLength, truth, draft.topK);
    case "prompt-lookup":
      return promptLookup();
    case "static-tree":
      return draft.source === "heads" ? staticTreeOfHeads(draft.tree) : tokenRecycling(draft.tree);
    default: {
      const pack = draft.pack === null ? null : (packs.get(draft.pack.name) ?? null);
      return createRescorer(draft, pack, draft.calibration, null, pair);
    }
  }
}
