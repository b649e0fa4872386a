import type { BundleManifest, Traits } from "../../shared/manifest.ts";
import { powerOfTwoIn } from "../../shared/rotation.ts";
import { PAGE_TOKENS } from "../model.ts";

/** What the memory of an integer model is laid out for. */
export interface IntegerShape extends Omit<BundleManifest["architecture"], "ropeFrequencies" | "traits"> {
  readonly traits: Traits;
  /** Blocks whose residual stream the heads read. */
  readonly taps: readonly number[];
  /** Bytes for the cache. */
  readonly kvBytes: number;
  /** Threads that share the work. */
  readonly members: number;
  /** null: the model has no draft heads. */
  readonly drafts: DraftShape | null;
}

/** Those of Llama itself. */
export function llamaTraits({ layers, headDim }: Pick<IntegerShape, "layers" | "headDim">): Traits {
  return {
    biases: false,
    headNorms: false,
    postNorms: false,
    gelu: false,
    attentionScale: 1 / Math.sqrt(headDim),
    attentionCap: null,
    logitCap: null,
    window: null,
    localRopeFrequencies: null,
    blocks: Array.from({ length: layers }, () => ({ rotary: "global" as const, windowed: false })),
  };
}

/** Sizes of the draft heads. */
export interface DraftShape {
  /** Rows and columns of a lattice. */
  readonly heads: number;
  readonly topK: number;
  /** Width of the hidden layer. */
  readonly inner: number;
  /** Tokens that the heads may propose. */
  readonly vocabSize: number;
  /** Whether there are gates, for heads that copy. */
  readonly gated: boolean;
  /** Of the queries of lattices; 0: there are none. */
  readonly pairRank: number;
}

/** Float rows that the hidden layer is multiplied by: gates, then a query's m and q. */
export function hiddenRows({ heads, gated, pairRank }: DraftShape): number {
  return (gated ? heads : 0) + 2 * pairRank;
}

/** Rows of one pass. */
export const MAX_ROWS = 512;
/** Rows whose logits are computed at once. */
export const LOGIT_ROWS = 64;
/** Sessions whose lattices are made at once. */
export const DRAFT_SESSIONS = 64;
/** Rows of a session that go through attention together: enough to use each key loaded well, few enough to spread. */
export const ITEM_ROWS = 8;
/** Most drafted rows of one session, the root among them: bits of a mask. */
export const TREE_ROWS = 64;

/** Largest block of the Hadamard transforms over feed-forward rows and the heads' hidden layer (models/compile/integer.ts). */
const FFN_BLOCK = 64;
/** What an item is described by (assembly/attention.ts). */
export const ITEM_INTS = 8;
/** The kernel's own constants lie below. */
const FIRST = 1 << 16;
const WASM_PAGE = 1 << 16;
const MOST_BYTES = 2 ** 32 - WASM_PAGE;

/** Byte addresses in the shared memory. */
export type Layout = ReturnType<typeof layOut>;

/** Bytes of one page of the cache, all layers. */
export function pageBytes({ layers, kvHeads, headDim }: Pick<IntegerShape, "layers" | "kvHeads" | "headDim">): number {
  return layers * kvHeads * PAGE_TOKENS * (2 * headDim + 8);
}

/** Places everything, the cache last. Throws Error where it does not fit into 4 GiB. */
export function layOut(shape: IntegerShape) {
  const { layers, width, heads, kvHeads, headDim, ffn, vocabSize, contextTokens, taps, members, drafts, traits } =
    shape;
  let end = FIRST;
  const take = (bytes: number) => {
    const at = end;
    end = Math.ceil((end + bytes) / 64) * 64;
    return at;
  };
  const qkv = (heads + 2 * kvHeads) * headDim;
  const perMember = scratchBytes(shape);
  const columns: Columns = (count) => ({ scales: take(count * 4), offsets: take(count * 4) });
  const addresses = {
    control: take(4096),
    /** Shards of each kind of matrix. */
    starts: layOutStarts(members, take),
    embedding: { values: take(vocabSize * width), scales: take(vocabSize * 4) },
    blocks: Array.from({ length: layers }, (_, i) => layOutBlock(shape, i, take, columns)),
    output: columns(vocabSize),
    /** The basis of the stream, as the kernel's addNormalised takes it. */
    turn: traits.postNorms ? take((width + (width / powerOfTwoIn(width)) ** 2) * 4) : 0,
    /** Tables of angles. */
    rotary: {
      global: take(contextTokens * headDim * 4),
      local: traits.localRopeFrequencies === null ? 0 : take(contextTokens * headDim * 4),
    },
    tokens: take(MAX_ROWS * 4),
    positions: take(MAX_ROWS * 4),
    slots: take(MAX_ROWS * 4),
    /** Numbers of the wanted rows. */
    wanted: take(MAX_ROWS * 4),
    x: take(MAX_ROWS * width * 4),
    taps: taps.map(() => take(MAX_ROWS * width * 4)),
    bytes: take(
      Math.max(MAX_ROWS * Math.max(width, heads * headDim, ffn), DRAFT_SESSIONS * Math.max(...draftRows(shape))),
    ),
    byteScales: take(MAX_ROWS * 4),
    queries: take(MAX_ROWS * heads * headDim * 2),
    queryScales: take(MAX_ROWS * heads * 4),
    /** What the bias of keys adds to scores, by a query and its angles; 0: there is none. */
    keyBiasTerms: traits.biases ? take(MAX_ROWS * heads * headDim * 4) : 0,
    attended: take(MAX_ROWS * heads * headDim * 4),
    sums: take(
      4 *
        Math.max(
          MAX_ROWS * Math.max(qkv, 2 * ffn, width),
          LOGIT_ROWS * vocabSize,
          DRAFT_SESSIONS * Math.max(...draftRows(shape)),
        ),
    ),
    logits: take(LOGIT_ROWS * vocabSize * 4),
    best: take(MAX_ROWS * 4),
    items: take(MAX_ROWS * kvHeads * ITEM_INTS * 4),
    /** First item of each member. */
    itemStarts: take((members + 1) * 4),
    /** Then as many as seen through a window. */
    masks: take(2 * MAX_ROWS * 8),
    tables: take((MAX_ROWS + (MAX_ROWS * contextTokens) / PAGE_TOKENS) * 4),
    scratch: Array.from({ length: members }, () => take(perMember)),
    drafts: drafts === null ? null : layOutDrafts(shape, drafts, take, columns),
  };
  const pages = Math.floor(Math.min(shape.kvBytes, MOST_BYTES - end) / pageBytes(shape));
  if (pages < 1) throw new Error(`a cache of ${shape.kvBytes} bytes holds no page of ${pageBytes(shape)}`);
  const arena = take(pages * pageBytes(shape));
  return {
    ...addresses,
    arena,
    pages,
    ffnBlock: powerOfTwoIn(ffn, FFN_BLOCK),
    draftBlock: drafts === null ? 0 : powerOfTwoIn(drafts.inner, FFN_BLOCK),
    headBlock: powerOfTwoIn(headDim),
    widthPower: powerOfTwoIn(width),
    wasmPages: Math.ceil(end / WASM_PAGE),
  };
}

/** Of one member: rows of a product, a row of queries, keys and values, attention of one item, or a row of a draft head. */
function scratchBytes(shape: IntegerShape): number {
  const { width, heads, kvHeads, headDim, ffn, contextTokens } = shape;
  const vectors = Math.ceil((ITEM_ROWS * heads) / kvHeads / 4) * 4;
  return Math.max(
    ffn * 4,
    2 * width * 4,
    (heads + 2 * kvHeads) * headDim * 4 + headDim * 2,
    vectors * (12 + headDim * 12 + (contextTokens + PAGE_TOKENS) * 4 + 64) + 64,
    4 * Math.max(...draftRows(shape)),
  );
}

/** Places of the draft heads. */
export type DraftLayout = ReturnType<typeof layOutDrafts>;

type Take = (bytes: number) => number;
type Columns = (count: number) => { readonly scales: number; readonly offsets: number };

function layOutStarts(members: number, take: Take) {
  const one = () => take((members + 1) * 4);
  return { qkv: one(), width: one(), ffn: one(), output: one() };
}

function layOutBlock(shape: IntegerShape, index: number, take: Take, columns: Columns) {
  const { width, heads, kvHeads, headDim, ffn, traits } = shape;
  const qkv = (heads + 2 * kvHeads) * headDim;
  return {
    qkv: columns(qkv),
    attentionOut: columns(width),
    gateUp: columns(2 * ffn),
    down: columns(width),
    /** 0: there is none, here and below. */
    qkvBias: traits.biases ? take(qkv * 4) : 0,
    keyBias: hasKeyBias(traits, index) ? take(kvHeads * headDim * 4) : 0,
    attentionOutBias: traits.biases ? take(width * 4) : 0,
    /** Of queries, then of keys. */
    headNorms: traits.headNorms ? take(2 * headDim * 4) : 0,
    postNorms: traits.postNorms ? { attention: take(width * 4), feedForward: take(width * 4) } : null,
  };
}

/** Whether the keys of a block are cached without their bias: nothing but the rotation comes between (models/compile/integer.ts). */
function hasKeyBias({ biases, headNorms, blocks }: Traits, index: number): boolean {
  return biases && !headNorms && blocks[index]!.rotary !== null;
}

function layOutDrafts({ width, taps, members }: IntegerShape, drafts: DraftShape, take: Take, columns: Columns) {
  const { heads, topK, inner, vocabSize } = drafts;
  const states = DRAFT_SESSIONS * heads;
  const rows = hiddenRows(drafts);
  return {
    starts: {
      inner: take((members + 1) * 4),
      states: take((members + 1) * 4),
      vocab: take((members + 1) * 4),
    },
    trunk: columns(inner),
    heads: columns(heads * width),
    output: columns(vocabSize),
    bias: take(heads * width * 4),
    signs: take(inner * 4),
    /** Of the rows that the hidden layer is multiplied by, and the products; 0: there are none. */
    hiddenWeights: rows === 0 ? 0 : take(rows * inner * 4),
    hiddenProducts: rows === 0 ? 0 : take(DRAFT_SESSIONS * rows * 4),
    /** Addresses of the streams that are features. */
    sources: take((taps.length + 1) * 4),
    rows: take(DRAFT_SESSIONS * 4),
    bonus: take(DRAFT_SESSIONS * 4),
    /** What the final states are multiplied by, as a feature and in the heads' states. */
    finals: take(DRAFT_SESSIONS * 4),
    inverses: take(DRAFT_SESSIONS * 4),
    stateScales: take(states * 4),
    best: take(states * topK * 4),
    logits: take(states * topK * 4),
    masses: take(states * 4),
  };
}

/** Columns of what the draft heads compute for a session. */
function draftRows({ width, taps, drafts }: IntegerShape): number[] {
  if (drafts === null) return [0];
  return [(taps.length + 2) * width, drafts.inner, drafts.heads * width, drafts.vocabSize];
}

/** First column of each member's share, and the end: multiples of 8 as even as can be. */
export function shardStarts(columns: number, members: number): Int32Array {
  return Int32Array.from({ length: members + 1 }, (_, i) =>
    i === members ? columns : Math.floor((columns * i) / members / 8) * 8,
  );
}
