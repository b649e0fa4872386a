import { assert } from "../../shared/assert.ts";
import { CONTROL, PROGRAM } from "./barrier.ts";
import { Drafts } from "./drafts.ts";
import type { Kernel } from "./kernel-functions.ts";
import { type IntegerShape, type Layout, LOGIT_ROWS, MAX_ROWS } from "./layout.ts";
import { Product } from "./product.ts";
import { type MemberParts, Team } from "./team.ts";
import { type IntegerWeights, matrixSizes } from "./weights.ts";

interface BlockProducts {
  readonly qkv: Product;
  readonly attentionOut: Product;
  readonly gateUp: Product;
  readonly down: Product;
}

type Columns = Layout["output"];

/**
 * One of the threads that compute a pass together: each has a shard of every matrix's columns and takes its share of
 * the rows in between. All members run the same program over one memory and meet at barriers.
 */
export class Member {
  readonly #team: Team;
  readonly #shape: IntegerShape;
  readonly #at: Layout;
  readonly #kernel: Kernel;
  readonly #memory: ArrayBufferLike;
  readonly #blocks: readonly BlockProducts[];
  readonly #output: Product;
  /** null: the model has no draft heads. */
  readonly #drafts: Drafts | null;

  private constructor(
    team: Team,
    { shape, layout, kernel, memory }: MemberParts,
    blocks: readonly BlockProducts[],
    output: Product,
    drafts: Drafts | null,
  ) {
    this.#team = team;
    this.#shape = shape;
    this.#at = layout;
    this.#kernel = kernel;
    this.#memory = memory;
    this.#blocks = blocks;
    this.#output = output;
    this.#drafts = drafts;
  }

  /** Loads this member's shards; `heads`: the draft heads' weights, null where there are none. */
  static async load(
    id: number,
    parts: MemberParts,
    weights: IntegerWeights,
    heads: IntegerWeights | null,
    exactly: boolean,
  ): Promise<Member> {
    const { shape, memory } = parts;
    const team = new Team(id, parts);
    const sizes = matrixSizes(shape);
    const share = (columns: number) => team.shard(columns);
    const product = (
      name: string,
      { K, N }: { K: number; N: number },
      ranges: readonly (readonly [number, number])[],
    ) => Product.of(weights.columns(name, K, N, ranges), memory, exactly);
    const blocks: BlockProducts[] = [];
    const { ffn } = shape;
    const [gateFrom, gateTo] = share(ffn);
    for (let i = 0; i < shape.layers; i++) {
      const name = (part: string) => `blocks.${i}.${part}`;
      blocks.push({
        qkv: await product(name("qkv"), sizes.qkv, [share(sizes.qkv.N)]),
        attentionOut: await product(name("attention_out"), sizes.attentionOut, [share(sizes.attentionOut.N)]),
        gateUp: await product(name("gate_up"), sizes.gateUp, [
          [gateFrom, gateTo],
          [ffn + gateFrom, ffn + gateTo],
        ]),
        down: await product(name("down"), sizes.down, [share(sizes.down.N)]),
      });
    }
    const output = await product("output", sizes.output, [share(sizes.output.N)]);
    const drafts = heads === null ? null : await Drafts.load(team, parts, weights, heads, exactly);
    return new Member(team, parts, blocks, output, drafts);
  }

  /** This member's part of the program that the control words name. */
  run(): Promise<void> {
    return this.#team.control[CONTROL.program] === PROGRAM.pass ? this.pass() : this.drafts();
  }

  drafts(): Promise<void> {
    assert(this.#drafts !== null, "the model has draft heads");
    return this.#drafts.run();
  }

  /** This member's part of the pass that the control words and the arrays beside them describe. */
  async pass(afterLogits: (firstRow: number, rows: number) => void = () => undefined): Promise<void> {
    const { layers, taps } = this.#shape;
    const at = this.#at;
    const kernel = this.#kernel;
    const wanted = this.#team.control[CONTROL.wanted]!;
    let rows = this.#team.control[CONTROL.rows]!;
    let [from, to] = this.#team.share(rows);
    kernel.embed(from, to, at.tokens, at.embedding.values, at.embedding.scales, at.x);
    kernel.addAndNormalise(from, to, rows, 0, 0, 0, 0, 0, 0, at.x, at.bytes, at.byteScales);
    this.#team.barrier.wait();
    for (let i = 0; i < layers; i++) {
      await this.#attend(i, rows);
      // Of the last block only the rows that somebody wants are needed.
      if (i === layers - 1) {
        if (wanted === 0) return;
        if (this.#team.id === 0) this.#gather(wanted);
        rows = wanted;
        [from, to] = this.#team.share(rows);
        this.#team.barrier.wait();
      }
      await this.#feedForward(i, rows, from, to);
      this.#team.barrier.wait();
      // Nobody changes the streams again before this member has met the others twice.
      const tap = taps.indexOf(i);
      if (tap >= 0 && this.#team.id === 0) this.#tap(tap, wanted, i === layers - 1);
    }
    await this.#logits(rows, afterLogits);
  }

  async #attend(i: number, rows: number): Promise<void> {
    const at = this.#at;
    const kernel = this.#kernel;
    const { window, attentionScale, attentionCap, blocks } = this.#shape.traits;
    const { rotary, windowed } = blocks[i]!;
    const { qkv, qkvBias, headNorms, keyBias } = at.blocks[i]!;
    const [from, to] = this.#team.share(rows);
    await this.#team.multiply(this.#blocks[i]!.qkv, rows, at.bytes, at.starts.qkv);
    // The softmax's exponents are of 2, and the transforms of queries and keys are not normalised.
    const angles = rotary === null ? 0 : at.rotary[rotary];
    const queryScale = (Math.LOG2E * attentionScale) / at.headBlock;
    kernel.splitHeads(
      from,
      to,
      rows,
      i,
      at.sums,
      at.starts.qkv,
      qkv.offsets,
      qkv.scales,
      at.byteScales,
      at.positions,
      at.slots,
      queryScale,
      qkvBias,
      headNorms,
      angles,
      keyBias,
      at.keyBiasTerms,
      this.#team.scratch,
      at.queries,
      at.queryScales,
    );
    this.#team.barrier.wait();
    const starts = new Int32Array(this.#memory, at.itemStarts, this.#shape.members + 1);
    kernel.attend(
      starts[this.#team.id]!,
      starts[this.#team.id + 1]!,
      i,
      at.items,
      at.queries,
      at.queryScales,
      at.attended,
      this.#team.scratch,
      windowed ? (window ?? 0) : 0,
      at.positions,
      MAX_ROWS * 8,
      (attentionCap ?? 0) * Math.LOG2E,
      keyBias === 0 ? 0 : at.keyBiasTerms,
      angles,
    );
    this.#team.barrier.wait();
  }

  async #feedForward(i: number, rows: number, from: number, to: number): Promise<void> {
    const at = this.#at;
    const kernel = this.#kernel;
    const { heads, headDim } = this.#shape;
    const block = at.blocks[i]!;
    kernel.quantise(from, to, at.attended, heads * headDim, at.bytes, at.byteScales);
    this.#team.barrier.wait();
    await this.#team.multiply(this.#blocks[i]!.attentionOut, rows, at.bytes, at.starts.width);
    this.#add(from, to, rows, block.attentionOut, block.attentionOutBias, block.postNorms?.attention ?? 0);
    this.#team.barrier.wait();
    await this.#team.multiply(this.#blocks[i]!.gateUp, rows, at.bytes, at.starts.ffn, 2);
    kernel.gate(
      from,
      to,
      rows,
      at.sums,
      at.starts.ffn,
      block.gateUp.offsets,
      block.gateUp.scales,
      at.byteScales,
      Number(this.#shape.traits.gelu),
      this.#team.scratch,
      at.bytes,
      at.byteScales,
    );
    this.#team.barrier.wait();
    await this.#team.multiply(this.#blocks[i]!.down, rows, at.bytes, at.starts.width);
    this.#add(from, to, rows, block.down, 0, block.postNorms?.feedForward ?? 0);
  }

  /** Adds a product to the streams; `bias` and `postNorm`, addresses of vectors, may be 0. */
  #add(from: number, to: number, rows: number, columns: Columns, bias: number, postNorm: number): void {
    const at = this.#at;
    const kernel = this.#kernel;
    const product = [at.sums, at.starts.width, columns.offsets, columns.scales, at.byteScales, bias] as const;
    const result = [at.x, at.bytes, at.byteScales] as const;
    if (postNorm === 0) return kernel.addAndNormalise(from, to, rows, ...product, ...result);
    kernel.addNormalised(from, to, rows, ...product, postNorm, at.turn, at.widthPower, this.#team.scratch, at.x);
    kernel.addAndNormalise(from, to, rows, 0, 0, 0, 0, 0, 0, ...result);
  }

  /** The last `rows` rows' logits, some at a time. */
  async #logits(rows: number, after: (firstRow: number, rows: number) => void): Promise<void> {
    const at = this.#at;
    const kernel = this.#kernel;
    const { width, vocabSize } = this.#shape;
    for (let first = 0; first < rows; first += LOGIT_ROWS) {
      const count = Math.min(LOGIT_ROWS, rows - first);
      const [from, to] = this.#team.share(count);
      await this.#team.multiply(this.#output, count, at.bytes + first * width, at.starts.output);
      const floats = this.#team.control[CONTROL.logits] === 1 ? at.logits : 0;
      kernel.logits(
        from,
        to,
        count,
        at.sums,
        at.starts.output,
        vocabSize,
        at.output.offsets,
        at.output.scales,
        at.byteScales + first * 4,
        at.best + first * 4,
        floats,
        this.#shape.traits.logitCap ?? 0,
      );
      this.#team.barrier.wait();
      if (this.#team.id === 0) after(first, count);
      if (first + count < rows) this.#team.barrier.wait();
    }
  }

  /** Moves the wanted rows' streams and attention to the front. */
  #gather(wanted: number): void {
    const at = this.#at;
    const { width, heads, headDim } = this.#shape;
    const rows = new Int32Array(this.#memory, at.wanted, wanted);
    const x = new Float32Array(this.#memory, at.x);
    const attended = new Float32Array(this.#memory, at.attended);
    for (const [i, row] of rows.entries()) {
      if (row === i) continue;
      x.copyWithin(i * width, row * width, (row + 1) * width);
      attended.copyWithin(i * heads * headDim, row * heads * headDim, (row + 1) * heads * headDim);
    }
  }

  /** Keeps the wanted rows' streams after a block; `gathered`: they are all the rows there are. */
  #tap(tap: number, wanted: number, gathered: boolean): void {
    const { width } = this.#shape;
    const x = new Float32Array(this.#memory, this.#at.x);
    const kept = new Float32Array(this.#memory, this.#at.taps[tap]!);
    const rows = new Int32Array(this.#memory, this.#at.wanted, wanted);
    for (let i = 0; i < wanted; i++) {
      const row = gathered ? i : rows[i]!;
      kept.set(x.subarray(row * width, (row + 1) * width), i * width);
    }
  }

  async release(): Promise<void> {
    for (const { qkv, attentionOut, gateUp, down } of this.#blocks) {
      await Promise.all([qkv, attentionOut, gateUp, down].map((product) => product.release()));
    }
    await this.#output.release();
    await this.#drafts?.release();
  }
}
