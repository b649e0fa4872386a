import { assert } from "../../shared/assert.ts";
import { Rotation, randomSign } from "../../shared/rotation.ts";
import { CONTROL } from "./barrier.ts";
import type { Kernel } from "./kernel-functions.ts";
import {
  type DraftLayout,
  type DraftShape,
  hiddenRows,
  type IntegerShape,
  type Layout,
  LOGIT_ROWS,
  shardStarts,
} from "./layout.ts";
import { Product } from "./product.ts";
import type { MemberParts, Team } from "./team.ts";
import type { IntegerWeights } from "./weights.ts";

/** Of the norms that the heads were trained with. */
const EPSILON = 1e-5;

interface DraftProducts {
  readonly trunk: Product;
  readonly heads: Product;
  readonly output: Product;
}

/** A member's part of the draft heads (models/README.md): shards of their matrices, as of the base model's. */
export class Drafts {
  readonly #team: Team;
  readonly #shape: IntegerShape;
  readonly #sizes: DraftShape;
  readonly #at: Layout;
  readonly #drafts: DraftLayout;
  readonly #kernel: Kernel;
  readonly #memory: ArrayBufferLike;
  readonly #products: DraftProducts;
  readonly #rotation: Rotation;
  readonly #finalNorm: Float32Array;

  private constructor(team: Team, parts: MemberParts, products: DraftProducts, finalNorm: Float32Array) {
    const { shape, layout, kernel, memory } = parts;
    assert(shape.drafts !== null && layout.drafts !== null, "the model has draft heads");
    this.#team = team;
    this.#shape = shape;
    this.#sizes = shape.drafts;
    this.#at = layout;
    this.#drafts = layout.drafts;
    this.#kernel = kernel;
    this.#memory = memory;
    this.#products = products;
    this.#rotation = new Rotation(shape.width);
    this.#finalNorm = finalNorm;
  }

  /** Loads this member's shards. `base` holds the output matrix. Throws Error where weights are missing. */
  static async load(
    team: Team,
    parts: MemberParts,
    base: IntegerWeights,
    heads: IntegerWeights,
    exactly: boolean,
  ): Promise<Drafts> {
    const { shape, memory } = parts;
    assert(shape.drafts !== null, "the model has draft heads");
    const { width, vocabSize } = shape;
    const sizes = draftSizes(shape, shape.drafts);
    const product = (name: "trunk" | "heads") => {
      const { K, N } = sizes[name];
      return Product.of(heads.columns(name, K, N, [team.shard(N)]), memory, exactly);
    };
    const ids = heads.int32("draft_ids", sizes.output.N).subarray(...team.shard(sizes.output.N));
    const products = {
      trunk: await product("trunk"),
      heads: await product("heads"),
      output: await Product.of(base.pick("output", width, vocabSize, ids), memory, exactly),
    };
    return new Drafts(team, parts, products, Float32Array.from(heads.float32("final_norm", width)));
  }

  /** This member's part of the lattices that the control words and the arrays beside them ask for. */
  async run(): Promise<void> {
    const team = this.#team;
    const at = this.#at;
    const drafts = this.#drafts;
    const kernel = this.#kernel;
    const { width, taps } = this.#shape;
    const { heads, inner } = this.#sizes;
    const sessions = team.control[CONTROL.sessions]!;
    const [from, to] = team.share(sessions);
    this.#finalStates(from, to);
    kernel.features(
      from,
      to,
      drafts.rows,
      drafts.sources,
      taps.length + 1,
      drafts.finals,
      drafts.bonus,
      at.embedding.values,
      at.embedding.scales,
      team.scratch,
      at.bytes,
      at.byteScales,
    );
    team.barrier.wait();
    await team.multiply(this.#products.trunk, sessions, at.bytes, drafts.starts.inner);
    kernel.activate(
      from,
      to,
      sessions,
      at.sums,
      drafts.starts.inner,
      drafts.trunk.offsets,
      drafts.trunk.scales,
      at.byteScales,
      inner,
      at.draftBlock,
      drafts.signs,
      hiddenRows(this.#sizes),
      drafts.hiddenWeights,
      drafts.hiddenProducts,
      team.scratch,
      at.bytes,
      at.byteScales,
    );
    team.barrier.wait();
    await team.multiply(this.#products.heads, sessions, at.bytes, drafts.starts.states);
    kernel.states(
      ...team.share(sessions * heads),
      sessions,
      at.sums,
      drafts.starts.states,
      drafts.heads.offsets,
      drafts.heads.scales,
      at.byteScales,
      heads,
      drafts.bias,
      drafts.rows,
      at.x,
      drafts.inverses,
      team.scratch,
      at.bytes,
      drafts.stateScales,
    );
    team.barrier.wait();
    for (let first = 0; first < sessions * heads; first += LOGIT_ROWS) {
      await this.#likeliest(first, Math.min(LOGIT_ROWS, sessions * heads - first), at.bytes + first * width);
    }
  }

  /** The likeliest tokens after the states [first, first + count). */
  async #likeliest(first: number, count: number, bytes: number): Promise<void> {
    const drafts = this.#drafts;
    const { vocabSize, topK } = this.#sizes;
    await this.#team.multiply(this.#products.output, count, bytes, drafts.starts.vocab);
    this.#kernel.likeliest(
      ...this.#team.share(count),
      count,
      this.#at.sums,
      drafts.starts.vocab,
      vocabSize,
      drafts.output.offsets,
      drafts.output.scales,
      drafts.stateScales + first * 4,
      topK,
      this.#team.scratch,
      drafts.best + first * topK * 4,
      drafts.logits + first * topK * 4,
      drafts.masses + first * 4,
    );
    this.#team.barrier.wait();
  }

  /**
   * What the streams of sessions [from, to) are multiplied by: to be the final state without its norm's weights, and,
   * as a feature, with them and divided by the root mean square of that.
   */
  #finalStates(from: number, to: number): void {
    const { width, normEps } = this.#shape;
    const rows = new Int32Array(this.#memory, this.#drafts.rows, to);
    const inverses = new Float32Array(this.#memory, this.#drafts.inverses, to);
    const finals = new Float32Array(this.#memory, this.#drafts.finals, to);
    for (let s = from; s < to; s++) {
      const at = this.#at.x + rows[s]! * width * 4;
      const state = Float64Array.from(new Float32Array(this.#memory, at, width));
      const inverse = 1 / Math.sqrt(meanSquare(state) + normEps);
      this.#rotation.restore(state);
      for (let i = 0; i < width; i++) state[i]! *= inverse * this.#finalNorm[i]!;
      inverses[s] = inverse;
      finals[s] = inverse / Math.sqrt(meanSquare(state) + EPSILON);
    }
  }

  async release(): Promise<void> {
    await Promise.all(Object.values(this.#products).map((product: Product) => product.release()));
  }
}

function meanSquare(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return sum / values.length;
}

/** Sizes of the heads' matrices [K, N]. */
function draftSizes({ width, taps }: IntegerShape, { heads, inner, vocabSize }: DraftShape) {
  return {
    trunk: { K: (taps.length + 2) * width, N: inner },
    heads: { K: inner, N: heads * width },
    output: { K: width, N: vocabSize },
  };
}

/** What a file of draft heads holds of lattices of `heads` rows and `topK` columns. Throws Error where it does not fit. */
export function draftShape(weights: IntegerWeights, heads: number, topK: number): DraftShape {
  const inner = weights.shape("trunk", 2)[1]!;
  const vocabSize = weights.shape("draft_ids", 1)[0]!;
  if (topK > vocabSize) throw new Error(`the draft vocabulary has ${vocabSize} tokens, fewer than a lattice's ${topK}`);
  const pairRank = weights.has("query.bias") ? weights.shape("query.bias", 1)[0]! / 2 : 0;
  return { heads, topK, inner, vocabSize, gated: weights.has("gates"), pairRank };
}

/** What no call of the heads changes: scales, offsets, signs, shards. */
export function fillDraftConstants(
  memory: ArrayBufferLike,
  shape: IntegerShape,
  layout: Layout,
  base: IntegerWeights,
  weights: IntegerWeights,
): void {
  const { drafts } = layout;
  assert(shape.drafts !== null && drafts !== null, "the model has draft heads");
  const { heads, inner, vocabSize, gated, pairRank } = shape.drafts;
  const { width, members } = shape;
  const sizes = draftSizes(shape, shape.drafts);
  const floats = (to: number, values: Float32Array) => new Float32Array(memory, to, values.length).set(values);
  const ints = (to: number, values: Int32Array) => new Int32Array(memory, to, values.length).set(values);
  for (const name of ["trunk", "heads"] as const) {
    floats(drafts[name].scales, weights.float32(`${name}.scales`, sizes[name].N));
    ints(drafts[name].offsets, weights.int32(`${name}.offsets`, sizes[name].N));
  }
  const ids = weights.int32("draft_ids", vocabSize);
  const scales = base.float32("output.scales", shape.vocabSize);
  const offsets = base.int32("output.offsets", shape.vocabSize);
  floats(
    drafts.output.scales,
    Float32Array.from(ids, (id) => scales[id]!),
  );
  ints(
    drafts.output.offsets,
    ids.map((id) => offsets[id]!),
  );
  floats(drafts.bias, weights.float32("bias", heads * width));
  floats(
    drafts.signs,
    Float32Array.from({ length: inner }, (_, i) => randomSign(i)),
  );
  if (gated) floats(drafts.hiddenWeights, weights.float32("gates", heads * inner));
  if (pairRank > 0) {
    const from = drafts.hiddenWeights + (hiddenRows(shape.drafts) - 2 * pairRank) * inner * 4;
    floats(from, weights.float32("query.weight", 2 * pairRank * inner));
  }
  ints(drafts.sources, Int32Array.of(...layout.taps, layout.x));
  ints(drafts.starts.inner, shardStarts(inner, members));
  ints(drafts.starts.states, shardStarts(sizes.heads.N, members));
  ints(drafts.starts.vocab, shardStarts(vocabSize, members));
}
