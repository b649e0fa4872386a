import { Rotation } from "../../shared/rotation.ts";
import { type IntegerShape, type Layout, shardStarts } from "./layout.ts";
import { type IntegerWeights, matrixSizes } from "./weights.ts";

/** What no pass changes: embeddings, scales, offsets, biases, norms, angles, shards. */
export function fillConstants(
  memory: ArrayBufferLike,
  at: Layout,
  shape: IntegerShape,
  weights: IntegerWeights,
  ropeFrequencies: readonly number[],
): void {
  const { vocabSize, width, ffn, layers, kvHeads, headDim, members } = shape;
  const sizes = matrixSizes(shape);
  new Int8Array(memory).set(weights.int8("embedding", vocabSize * width), at.embedding.values);
  const floats = (to: number, values: Float32Array) => new Float32Array(memory, to, values.length).set(values);
  const ints = (to: number, values: Int32Array) => new Int32Array(memory, to, values.length).set(values);
  floats(at.embedding.scales, weights.float32("embedding.scales", vocabSize));
  const columns = (to: Layout["output"], name: string, count: number) => {
    floats(to.scales, weights.float32(`${name}.scales`, count));
    ints(to.offsets, weights.int32(`${name}.offsets`, count));
  };
  for (let i = 0; i < layers; i++) {
    const block = at.blocks[i]!;
    columns(block.qkv, `blocks.${i}.qkv`, sizes.qkv.N);
    columns(block.attentionOut, `blocks.${i}.attention_out`, width);
    columns(block.gateUp, `blocks.${i}.gate_up`, 2 * ffn);
    columns(block.down, `blocks.${i}.down`, width);
    const vector = (to: number, part: string, count: number) => {
      if (to !== 0) floats(to, weights.float32(`blocks.${i}.${part}`, count));
    };
    vector(block.qkvBias, "qkv_bias", sizes.qkv.N);
    vector(block.keyBias, "key_bias", kvHeads * headDim);
    vector(block.attentionOutBias, "attention_out_bias", width);
    vector(block.headNorms, "head_norms", 2 * headDim);
    if (block.postNorms !== null) {
      vector(block.postNorms.attention, "post_attention_norm", width);
      vector(block.postNorms.feedForward, "post_feed_forward_norm", width);
    }
  }
  if (at.turn !== 0) {
    const { signs, mix } = new Rotation(width);
    floats(at.turn, Float32Array.of(...signs, ...mix));
  }
  columns(at.output, "output", vocabSize);
  ints(at.starts.qkv, shardStarts(sizes.qkv.N, members));
  ints(at.starts.width, shardStarts(width, members));
  ints(at.starts.ffn, shardStarts(ffn, members));
  ints(at.starts.output, shardStarts(vocabSize, members));
  fillAngles(memory, at.rotary.global, shape, ropeFrequencies);
  const { localRopeFrequencies } = shape.traits;
  if (localRopeFrequencies !== null) fillAngles(memory, at.rotary.local, shape, localRopeFrequencies);
}

/** [contextTokens, headDim / 2] cosines, then as many sines. */
function fillAngles(
  memory: ArrayBufferLike,
  to: number,
  { contextTokens, headDim }: IntegerShape,
  frequencies: readonly number[],
): void {
  const half = headDim / 2;
  const cosines = new Float32Array(memory, to, contextTokens * half);
  const sines = new Float32Array(memory, to + contextTokens * half * 4, contextTokens * half);
  for (let p = 0; p < contextTokens; p++) {
    for (let i = 0; i < half; i++) {
      const angle = p * frequencies[i]!;
      cosines[p * half + i] = Math.cos(angle);
      sines[p * half + i] = Math.sin(angle);
    }
  }
}
