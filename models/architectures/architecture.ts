/** A projection of a block that may have a bias. */
export type Projection = "attn_q" | "attn_k" | "attn_v" | "attn_output";

export interface Sizes {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly headDim: number;
}

/**
 * How a decoder differs from Llama: rotary embeddings, root-mean-square norms before attention and feed-forward, gated
 * feed-forward, tensors named as llama.cpp names them. What is left out is as in Llama. Sizes, angles, caps and windows
 * are in the file, under keys that begin with `name`.
 */
export interface Architecture {
  /** `general.architecture` of its files. */
  readonly name: string;
  /**
   * Order of the rows of a query or key head: the two that turn into one another are neighbours ("pairs", as llama.cpp's
   * converter makes them for some) or half a head apart ("halves").
   */
  readonly rotaryRows: "pairs" | "halves";
  /** Projections that must have a bias; any other may. */
  readonly biases?: readonly Projection[];
  /** Queries and keys are normalised head by head, before they are rotated: `attn_q_norm`, `attn_k_norm`. */
  readonly headNorms?: boolean;
  /** What attention and feed-forward give is normalised before it is added: `post_attention_norm`, `post_ffw_norm`. */
  readonly postNorms?: boolean;
  /** Queries, keys and values are one matrix, `attn_qkv`, and so are gate and up, `ffn_up`. */
  readonly fused?: boolean;
  /** Default "silu"; "gelu" is the approximation by tanh. */
  readonly activation?: "silu" | "gelu";
  /** Embeddings are multiplied by the root of the width. */
  readonly scaledEmbedding?: boolean;
  /** In every n-th block queries and keys are not rotated. */
  readonly unrotatedEvery?: number;
  /** Where the file names a window, every n-th block looks at everything all the same; Infinity: none does. */
  readonly unwindowedEvery?: number;
  /** Base of the rotary frequencies in blocks that look through a window; left out: as in the others. */
  readonly windowRotaryBase?: number;
  /** What scores are multiplied by; left out: one over the root of the head's size. */
  readonly attentionScale?: (sizes: Sizes) => number;
}
