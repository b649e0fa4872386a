import type { Architecture } from "./architecture.ts";

/** Layers of the one size whose scores are scaled by the width of a head's share, not by its own. */
const LARGEST = 46;

export const gemma2: Architecture = {
  name: "gemma2",
  rotaryRows: "halves",
  postNorms: true,
  activation: "gelu",
  scaledEmbedding: true,
  unwindowedEvery: 2,
  attentionScale: ({ layers, width, heads, headDim }) => 1 / Math.sqrt(layers === LARGEST ? width / heads : headDim),
};
