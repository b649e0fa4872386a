import { type EngineModel, SessionEngine } from "../../gpu-worker/engine/engine.ts";
import type { EngineOptions } from "../../gpu-worker/engine/options.ts";
import type { Forward, HeadsOutput, Model, ModelShape, Segment } from "../../gpu-worker/model.ts";
import { PAGE_TOKENS } from "../../gpu-worker/model.ts";
import { ModelRunner, RunnerLost } from "../../gpu-worker/runner.ts";
import { assert } from "../../shared/assert.ts";
import type { BundleInfo, OpenSpec } from "../../shared/engine.ts";
import { createLattice, type Lattice } from "../../shared/lattice.ts";
import { PLAIN } from "../helpers/session.ts";

const TOY_SHAPE: ModelShape = {
  vocabSize: 16,
  contextTokens: 600,
  latticeHeads: 3,
  topK: 4,
  copyHeads: null,
};

/**
 * A model whose cache stores each row's token and position and whose output is a hash of all that a row may see. It
 * fails where a row sees anything but each position up to its own, once: a wrong page, a wrong row kept or a page
 * shared with somebody else's text shows at once.
 */
export class ToyModel implements Model {
  readonly shape: ModelShape;
  readonly pages: number;
  readonly maxRows = 64;
  /** Segments of each pass. */
  readonly calls: (readonly Segment[])[] = [];
  /** Sessions of each call of the heads. */
  readonly headsCalls: number[] = [];
  /** Of the queries that its heads make; 0: they make none. */
  pairRank = 0;
  /** Awaited inside each pass. */
  before: () => Promise<void> = async () => undefined;
  /** [slot] token and position; -1 where nothing was written. */
  readonly #slots: [token: number, position: number][];
  #hashes: number[] = [];

  constructor(changes: Partial<ModelShape> = {}, pages = 64) {
    this.shape = { ...TOY_SHAPE, ...changes };
    this.pages = pages;
    this.#slots = Array.from({ length: pages * PAGE_TOKENS }, () => [-1, -1]);
  }

  async forward(segments: readonly Segment[]): Promise<Forward> {
    this.calls.push(segments);
    await this.before();
    const { vocabSize } = this.shape;
    this.#hashes = segments.flatMap((segment) => this.#run(segment));
    const logits = this.#hashes.map((hash) => toyLogits(hash, vocabSize));
    return {
      argmax: Int32Array.from(logits, (row) => row.indexOf(Math.max(...row))),
      logits: (row) => Float32Array.from(logits[row]!),
    };
  }

  async heads(requests: readonly { readonly row: number; readonly bonus: number }[]): Promise<HeadsOutput[]> {
    this.headsCalls.push(requests.length);
    return requests.map(({ row, bonus }) => {
      const gate = this.shape.copyHeads === null ? null : new Float32Array(this.shape.latticeHeads);
      const query = this.pairRank === 0 ? null : toyQuery(this.#hashes[row]!, this.pairRank);
      return { lattice: toyLattice(this.#hashes[row]!, bonus, this.shape), gate, query };
    });
  }

  keep({ pages, length }: Segment, rows: readonly number[]): void {
    for (const [i, row] of rows.entries()) {
      this.#slots[slotOf(pages, length + i)] = this.#slots[slotOf(pages, length + row)]!;
    }
  }

  async release(): Promise<void> {}

  /** Hashes of the wanted rows. */
  #run({ pages, length, tokens, parents, wanted }: Segment): number[] {
    assert(new Set(pages).size === pages.length, "a page is in a table once");
    assert(tokens.length > 0 && pages.length * PAGE_TOKENS >= length + tokens.length, "there is a page for every row");
    const parent = (row: number) => (parents === null ? row - 1 : parents[row]!);
    const depth: number[] = [];
    for (const [row, token] of tokens.entries()) {
      depth.push(parent(row) < 0 ? 0 : depth[parent(row)]! + 1);
      this.#slots[slotOf(pages, length + row)] = [token, length + depth[row]!];
    }
    const rows = wanted === "none" ? [] : wanted === "last" ? [tokens.length - 1] : [...tokens.keys()];
    return rows.map((row) => {
      const own: number[] = [];
      for (let at = row; at >= 0; at = parent(at)) own.unshift(length + at);
      const seen = [...Array.from({ length }, (_, i) => i), ...own].map((at) => this.#slots[slotOf(pages, at)]!);
      const complete = seen.every(([, position], i) => position === i);
      assert(complete, `row ${row} sees each position once, not ${seen.map(([, position]) => position)}`);
      return toyHash(seen.map(([token]) => token));
    });
  }
}

function slotOf(pages: Int32Array, token: number): number {
  return pages[Math.floor(token / PAGE_TOKENS)]! * PAGE_TOKENS + (token % PAGE_TOKENS);
}

const TOY_INFO: BundleInfo = {
  ...TOY_SHAPE,
  model: "toy",
  tokenizerHash: "",
  provider: "toy",
  costs: { pass: 5, row: 0.5, wanted: 0.1, context: 0.1, heads: 0.2 },
  neural: false,
};

export const TOY_SPEC: OpenSpec = { ...PLAIN, prompt: Uint32Array.of(1, 2, 3) };

/** The engine over toy models: a model that is lost is replaced by a new one with an empty cache. */
export class ToyEngine implements EngineModel {
  readonly info = TOY_INFO;
  readonly pages: number;
  readonly maxRows: number;
  model: ToyModel;
  restarts = 0;
  /** Set, it makes the next starts fail. */
  broken = false;
  #runner: ModelRunner;

  constructor(pages = 64) {
    this.model = new ToyModel({}, pages);
    this.pages = pages;
    this.maxRows = this.model.maxRows;
    this.#runner = new ModelRunner(this.model);
  }

  readonly runner = {
    open: (...args: Parameters<ModelRunner["open"]>) => this.#runner.open(...args),
    run: (...args: Parameters<ModelRunner["run"]>) => this.#runner.run(...args),
    close: (id: number) => this.#runner.close(id),
  };

  async restart(): Promise<void> {
    this.restarts++;
    if (this.broken) throw new Error("it does not start");
    const { before } = this.model;
    this.model = new ToyModel({}, this.pages);
    this.model.before = before;
    this.#runner = new ModelRunner(this.model);
  }

  async close(): Promise<void> {}

  /** The next pass ends the model. */
  crashNext(): void {
    this.model.before = async () => {
      this.model.before = async () => undefined;
      throw new RunnerLost("it ended");
    };
  }
}

export function toyEngine(options: EngineOptions = {}, pages = 64) {
  const toy = new ToyEngine(pages);
  return { toy, engine: new SessionEngine(toy, options) };
}

export function toyHash(tokens: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const token of tokens) hash = Math.imul(hash ^ (token + 1), 0x01000193) ^ (hash >>> 15);
  return hash >>> 0;
}

export function toyLogits(hash: number, vocabSize: number): number[] {
  return Array.from({ length: vocabSize }, (_, token) => Math.fround((toyHash([hash, token]) % 6000) / 1000));
}

/** What follows `tokens`, greedily. */
export function toyNext(tokens: readonly number[], vocabSize: number): number {
  const logits = toyLogits(toyHash(tokens), vocabSize);
  return logits.indexOf(Math.max(...logits));
}

/** The `count` tokens that follow `tokens`, greedily. */
export function toyText(tokens: readonly number[], count: number, vocabSize = TOY_SHAPE.vocabSize): number[] {
  const text = [...tokens];
  while (text.length < tokens.length + count) text.push(toyNext(text, vocabSize));
  return text.slice(tokens.length);
}

/** [2 rank] What the heads make of the tokens that hash to `hash`. */
export function toyQuery(hash: number, rank: number): Float32Array {
  return Float32Array.from({ length: 2 * rank }, (_, i) => (toyHash([hash, i]) % 1000) / 500 - 1);
}

/** The lattice after `bonus`, which follows the tokens that hash to `hash`. */
export function toyLattice(hash: number, bonus: number, { latticeHeads, topK, vocabSize }: ModelShape): Lattice {
  const tokens = Uint32Array.from({ length: latticeHeads * topK }, (_, i) => toyHash([hash, bonus, i]) % vocabSize);
  const logProbs = Float32Array.from({ length: latticeHeads * topK }, (_, i) => -0.5 - (i % topK));
  return createLattice(latticeHeads, topK, tokens, logProbs);
}
