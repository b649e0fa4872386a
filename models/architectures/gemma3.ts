import type { Architecture } from "./architecture.ts";

/** Layers of the one size whose scores are scaled by the width of a head's share, not by its own. */
const LARGEST = 62;

/** The text part of Gemma 3. */
export const gemma3: Architecture = {
  name: "gemma3",
  rotaryRows: "halves",
  headNorms: true,
  postNorms: true,
  activation: "gelu",
  scaledEmbedding: true,
  unwindowedEvery: 6,
  windowRotaryBase: 10_000,
  attentionScale: ({ layers, width, heads, headDim }) => 1 / Math.sqrt(layers === LARGEST ? width / heads : headDim),
};
