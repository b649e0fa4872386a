import { availableParallelism } from "node:os";
import { SessionEngine } from "../../gpu-worker/engine/engine.ts";
import { loadBundle } from "../../gpu-worker/load.ts";
import { type Model, PAGE_TOKENS } from "../../gpu-worker/model.ts";
import { ModelProcess } from "../../gpu-worker/process/model-process.ts";
import { chain, type DraftTree, EMPTY_TREE } from "../../shared/draft-tree.ts";
import { median } from "./stats.ts";

const PAST = 132;
const ROUNDS = 40;
/** Where time is short. */
const LEAST_ROUNDS = 3;
const ROWS = [1, 2, 4, 8, 16, 32];
/** Of a pass. */
const MOST_ROWS = 64;
const CONTEXTS = [128, 512, 1024, 2048, 4096];

/** Rows, or tokens of context, -> ms; medians. */
export type Curve = Readonly<Record<string, number>>;

export interface EngineCosts {
  /** One pass of one row in this process, nothing around it, ms. */
  readonly bareStepMs: number;
  /** The same through the gpu-worker's engine: scheduler, the model's process, verification, ms. */
  readonly engineStepMs: number;
  /** The same two at 8 rows. */
  readonly bareStep8Ms: number;
  readonly engineStep8Ms: number;
  /** Rows -> ms of a bare pass. */
  readonly costCurveMs: Curve;
  /** Tokens of context -> ms of a bare pass of one row. */
  readonly contextMs: Curve;
}

/** Bare passes beside the engine, in turn, over texts of the same length; medians. */
export async function measureEngine(bundleDir: string): Promise<EngineCosts> {
  const threads = availableParallelism();
  const { model, neural } = await loadBundle(bundleDir, { threads, kvLimitBytes: 2 ** 28 });
  const engine = new SessionEngine(await ModelProcess.start(bundleDir, { threads, kvLimitBytes: 2 ** 28 }));
  const bare = await Bare.over(model);
  try {
    const one = await compare(bare, engine, 1);
    const eight = await compare(bare, engine, 8);
    const costCurveMs: Record<string, number> = {};
    for (const rows of ROWS) costCurveMs[rows] = await bare.median(rows, PAST);
    return {
      bareStepMs: one.bare,
      engineStepMs: one.engine,
      bareStep8Ms: eight.bare,
      engineStep8Ms: eight.engine,
      costCurveMs,
      contextMs: await bare.contextMs(),
    };
  } finally {
    await engine.close();
    await model.release();
    await neural?.release();
  }
}

/** Tokens of context -> ms of a bare pass of one row; medians. */
export async function measureContext(bundleDir: string): Promise<Curve> {
  const { model, neural } = await loadBundle(bundleDir, { threads: availableParallelism(), kvLimitBytes: 2 ** 28 });
  try {
    return await (await Bare.over(model)).contextMs();
  } finally {
    await model.release();
    await neural?.release();
  }
}

/** Token 0 is a control token that the model never writes here: the draft is rejected, the text stays short. */
function rejected(rows: number): DraftTree {
  return rows === 1 ? EMPTY_TREE : chain(new Uint32Array(rows - 1));
}

async function compare(bare: Bare, engine: SessionEngine, rows: number) {
  const signal = new AbortController().signal;
  const spec = {
    model: engine.bundle.model,
    prompt: bare.text.subarray(0, PAST),
    heads: 0,
    topK: 1,
    sampling: { temperature: 0, topP: 1, seed: 0 },
    logProbs: null,
    neural: null,
    fixed: true,
    tenant: "",
  };
  const session = await engine.open(spec, signal);
  const bareMs: number[] = [];
  const engineMs: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    // As much context as the session has by now.
    bareMs.push(await bare.pass(rows, PAST + i));
    const at = performance.now();
    await session.step(i, rejected(rows), signal);
    engineMs.push(performance.now() - at);
  }
  session.close();
  return { bare: median(bareMs), engine: median(engineMs) };
}

/** A model's passes over one long text. */
export class Bare {
  readonly text: Uint32Array;
  /** Tokens/s of reading the text, in passes as large as may be. */
  prefillRate = 0;
  readonly #model: Model;
  readonly #pages: Int32Array;

  private constructor(model: Model, context: number) {
    const most = context + MOST_ROWS;
    const length = Math.min(most, model.shape.contextTokens);
    this.#model = model;
    this.text = Uint32Array.from({ length }, (_, i) => (i * 7919 + 11) % model.shape.vocabSize);
    this.#pages = Int32Array.from({ length: Math.ceil(length / PAGE_TOKENS) }, (_, i) => i);
  }

  static async over(model: Model, context = Math.max(...CONTEXTS)): Promise<Bare> {
    const bare = new Bare(model, context);
    const at = performance.now();
    for (let length = 0; length < bare.text.length; length += model.maxRows) {
      const tokens = bare.text.subarray(length, length + model.maxRows);
      const pages = bare.#pages;
      await model.forward([{ length, pages, tokens, parents: null, wanted: "none", logits: false }]);
    }
    bare.prefillRate = bare.text.length / ((performance.now() - at) / 1000);
    return bare;
  }

  async pass(rows: number, length: number): Promise<number> {
    const tokens = this.text.subarray(length, length + rows);
    const pages = this.#pages;
    const at = performance.now();
    await this.#model.forward([{ length, pages, tokens, parents: null, wanted: "all", logits: false }]);
    return performance.now() - at;
  }

  /** Of one lattice, after a pass of one row. */
  async headsMs(): Promise<number> {
    await this.pass(1, PAST);
    const times: number[] = [];
    for (let i = 0; i < ROUNDS / 2; i++) {
      const at = performance.now();
      await this.#model.heads([{ row: 0, bonus: 1 }]);
      times.push(performance.now() - at);
    }
    return median(times);
  }

  async contextMs(contexts: readonly number[] = CONTEXTS, until = Number.POSITIVE_INFINITY): Promise<Curve> {
    const result: Record<string, number> = {};
    for (const tokens of contexts) if (tokens < this.text.length) result[tokens] = await this.median(1, tokens, until);
    return result;
  }

  /** Of fewer passes where `until`, a time as of performance.now(), is past. */
  async median(rows: number, length: number, until = Number.POSITIVE_INFINITY): Promise<number> {
    const times: number[] = [];
    while (times.length < ROUNDS / 2 && (times.length < LEAST_ROUNDS || performance.now() < until)) {
      times.push(await this.pass(rows, length));
    }
    return median(times);
  }
}
