/** Sizes of the model, the same in every thread; set once by `configure`. */
export let width: i32 = 0;
export let heads: i32 = 0;
export let kvHeads: i32 = 0;
export let headDim: i32 = 0;
export let ffn: i32 = 0;
/** Pages of the cache. */
export let pages: i32 = 0;
/** Start of the cache, laid out in cache.ts. */
export let arena: usize = 0;
/** Positions of a table of angles: [context, headDim / 2] cosines, then as many sines. */
export let context: i32 = 0;
export let epsilon: f32 = 0;
/** Block sizes of the Hadamard transforms within a head and within the feed-forward rows. */
export let headBlock: i32 = 0;
export let ffnBlock: i32 = 0;

export function configure(
  width_: i32, heads_: i32, kvHeads_: i32, headDim_: i32, ffn_: i32, pages_: i32, arena_: usize, context_: i32,
  epsilon_: f32, headBlock_: i32, ffnBlock_: i32,
): void {
  width = width_;
  heads = heads_;
  kvHeads = kvHeads_;
  headDim = headDim_;
  ffn = ffn_;
  pages = pages_;
  arena = arena_;
  context = context_;
  epsilon = epsilon_;
  headBlock = headBlock_;
  ffnBlock = ffnBlock_;
}
