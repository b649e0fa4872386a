import { Barrier, CONTROL } from "./barrier.ts";
import type { Kernel } from "./kernel-functions.ts";
import { type IntegerShape, type Layout, LOGIT_ROWS, shardStarts } from "./layout.ts";
import { Product } from "./product.ts";
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
  readonly #id: number;
  readonly #shape: IntegerShape;
  readonly #at: Layout;
  readonly #kernel: Kernel;
  readonly #barrier: Barrier;
  readonly #control: Int32Array;
  readonly #memory: ArrayBufferLike;
  readonly #blocks: readonly BlockProducts[];
  readonly #output: Product;
  readonly #scratch: number;

  private constructor(id: number, parts: MemberParts, blocks: readonly BlockProducts[], output: Product) {
    const { shape, layout, kernel, memory } = parts;
    this.#id = id;
    this.#shape = shape;
    this.#at = layout;
    this.#kernel = kernel;
    this.#memory = memory;
    this.#control = new Int32Array(memory, layout.control, 64);
    this.#barrier = new Barrier(this.#control, shape.members);
    this.#blocks = blocks;
    this.#output = output;
    this.#scratch = layout.scratch[id]!;
  }

  /** Loads this member's shards. */
  static async load(id: number, parts: MemberParts, weights: IntegerWeights, exactly: boolean): Promise<Member> {
    const { shape, memory } = parts;
    const sizes = matrixSizes(shape);
    const share = (columns: number): readonly [number, number] => {
      const starts = shardStarts(columns, shape.members);
      return [starts[id]!, starts[id + 1]!];
    };
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
    return new Member(id, parts, blocks, await product("output", sizes.output, [share(sizes.output.N)]));
  }

  /** This member's part of the pass that the control words and the arrays beside them describe. */
  async pass(afterLogits: (firstRow: number, rows: number) => void = () => undefined): Promise<void> {
    const { layers, taps } = this.#shape;
    const at = this.#at;
    const kernel = this.#kernel;
    const wanted = this.#control[CONTROL.wanted]!;
    let rows = this.#control[CONTROL.rows]!;
    let [from, to] = this.#share(rows);
    kernel.embed(from, to, at.tokens, at.embedding.values, at.embedding.scales, at.x);
    kernel.addAndNormalise(from, to, rows, 0, 0, 0, 0, 0, at.x, at.bytes, at.byteScales);
    this.#barrier.wait();
    for (let i = 0; i < layers; i++) {
      await this.#attend(i, rows);
      // Of the last block only the rows that somebody wants are needed.
      if (i === layers - 1) {
        if (wanted === 0) return;
        if (this.#id === 0) this.#gather(wanted);
        rows = wanted;
        [from, to] = this.#share(rows);
        this.#barrier.wait();
      }
      await this.#feedForward(i, rows, from, to);
      this.#barrier.wait();
      // Nobody changes the streams again before this member has met the others twice.
      const tap = taps.indexOf(i);
      if (tap >= 0 && this.#id === 0) this.#tap(tap, wanted, i === layers - 1);
    }
    await this.#logits(rows, afterLogits);
  }

  async #attend(i: number, rows: number): Promise<void> {
    const at = this.#at;
    const kernel = this.#kernel;
    const { headDim } = this.#shape;
    const { qkv } = at.blocks[i]!;
    const [from, to] = this.#share(rows);
    await this.#multiply(this.#blocks[i]!.qkv, rows, at.starts.qkv);
    // The softmax's exponents are of 2, and the transforms of queries and keys are not normalised.
    const queryScale = Math.LOG2E / Math.sqrt(headDim) / at.headBlock;
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
      this.#scratch,
      at.queries,
      at.queryScales,
    );
    this.#barrier.wait();
    const starts = new Int32Array(this.#memory, at.itemStarts, this.#shape.members + 1);
    kernel.attend(
      starts[this.#id]!,
      starts[this.#id + 1]!,
      i,
      at.items,
      at.queries,
      at.queryScales,
      at.attended,
      this.#scratch,
    );
    this.#barrier.wait();
  }

  async #feedForward(i: number, rows: number, from: number, to: number): Promise<void> {
    const at = this.#at;
    const kernel = this.#kernel;
    const { heads, headDim } = this.#shape;
    const block = at.blocks[i]!;
    kernel.quantise(from, to, at.attended, heads * headDim, at.bytes, at.byteScales);
    this.#barrier.wait();
    await this.#multiply(this.#blocks[i]!.attentionOut, rows, at.starts.width);
    this.#add(from, to, rows, block.attentionOut);
    this.#barrier.wait();
    await this.#multiply(this.#blocks[i]!.gateUp, rows, at.starts.ffn, 2);
    kernel.gate(
      from,
      to,
      rows,
      at.sums,
      at.starts.ffn,
      block.gateUp.offsets,
      block.gateUp.scales,
      at.byteScales,
      this.#scratch,
      at.bytes,
      at.byteScales,
    );
    this.#barrier.wait();
    await this.#multiply(this.#blocks[i]!.down, rows, at.starts.width);
    this.#add(from, to, rows, block.down);
  }

  #add(from: number, to: number, rows: number, { offsets, scales }: Columns): void {
    const at = this.#at;
    this.#kernel.addAndNormalise(
      from,
      to,
      rows,
      at.sums,
      at.starts.width,
      offsets,
      scales,
      at.byteScales,
      at.x,
      at.bytes,
      at.byteScales,
    );
  }

  /** The last `rows` rows' logits, some at a time. */
  async #logits(rows: number, after: (firstRow: number, rows: number) => void): Promise<void> {
    const at = this.#at;
    const kernel = this.#kernel;
    const { width, vocabSize } = this.#shape;
    for (let first = 0; first < rows; first += LOGIT_ROWS) {
      const count = Math.min(LOGIT_ROWS, rows - first);
      const [from, to] = this.#share(count);
      await this.#multiply(this.#output, count, at.starts.output, 1, at.bytes + first * width);
      const floats = this.#control[CONTROL.logits] === 1 ? at.logits : 0;
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
      );
      this.#barrier.wait();
      if (this.#id === 0) after(first, count);
      if (first + count < rows) this.#barrier.wait();
    }
  }

  /** This member's shard of a product of all rows' bytes; all shards are there afterwards. */
  async #multiply(product: Product, rows: number, starts: number, times = 1, bytes = this.#at.bytes): Promise<void> {
    const start = new Int32Array(this.#memory, starts, this.#id + 1)[this.#id]!;
    if (product.N > 0) await product.run(rows, bytes, this.#at.sums + rows * start * times * 4);
    this.#barrier.wait();
  }

  /** This member's share of `count` rows. */
  #share(count: number): [from: number, to: number] {
    const { members } = this.#shape;
    return [Math.floor((count * this.#id) / members), Math.floor((count * (this.#id + 1)) / members)];
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
  }
}

export interface MemberParts {
  readonly shape: IntegerShape;
  readonly layout: Layout;
  readonly kernel: Kernel;
  readonly memory: ArrayBufferLike;
}
