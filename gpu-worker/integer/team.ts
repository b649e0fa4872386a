import { Barrier } from "./barrier.ts";
import type { Kernel } from "./kernel-functions.ts";
import { type IntegerShape, type Layout, shardStarts } from "./layout.ts";
import type { Product } from "./product.ts";

/** What a member's thread computes with. */
export interface MemberParts {
  readonly shape: IntegerShape;
  readonly layout: Layout;
  readonly kernel: Kernel;
  readonly memory: ArrayBufferLike;
}

/** One member's place among those that run the same program over one memory, and how it meets the others. */
export class Team {
  readonly id: number;
  readonly control: Int32Array;
  readonly barrier: Barrier;
  /** The kernel's scratch memory of this member. */
  readonly scratch: number;
  readonly #members: number;
  readonly #memory: ArrayBufferLike;
  readonly #sums: number;

  constructor(id: number, { shape, layout, memory }: MemberParts) {
    this.id = id;
    this.control = new Int32Array(memory, layout.control, 64);
    this.barrier = new Barrier(this.control, shape.members);
    this.scratch = layout.scratch[id]!;
    this.#members = shape.members;
    this.#memory = memory;
    this.#sums = layout.sums;
  }

  /** This member's share of `count` rows. */
  share(count: number): [from: number, to: number] {
    const members = this.#members;
    return [Math.floor((count * this.id) / members), Math.floor((count * (this.id + 1)) / members)];
  }

  /** This member's shard of so many columns. */
  shard(columns: number): [from: number, to: number] {
    const starts = shardStarts(columns, this.#members);
    return [starts[this.id]!, starts[this.id + 1]!];
  }

  /**
   * This member's shard of a product of all rows' bytes; all shards are there afterwards. `starts` says where in memory
   * the shards' first columns are, of which each has `times` as many.
   */
  async multiply(product: Product, rows: number, bytes: number, starts: number, times = 1): Promise<void> {
    const start = new Int32Array(this.#memory, starts, this.id + 1)[this.id]!;
    if (product.N > 0) await product.run(rows, bytes, this.#sums + rows * start * times * 4);
    this.barrier.wait();
  }
}
