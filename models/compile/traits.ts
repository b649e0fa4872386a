import type { Traits } from "../../shared/manifest.ts";
import type { BlockConfig, LlamaConfig } from "../llama.ts";

/** What the integer model is told of a decoder that is not as Llama itself, with so much context; null: it is. */
export function traitsOf(config: LlamaConfig, contextTokens: number): Traits | null {
  const windows = config.blocks.map(({ window }) => (window !== null && window < contextTokens ? window : null));
  const local = config.blocks.find((block) => hasOwnFrequencies(block, config))?.ropeFrequencies ?? null;
  const traits: Traits = {
    biases: config.biases,
    headNorms: config.headNorms,
    postNorms: config.postNorms,
    gelu: config.activation === "gelu",
    attentionScale: config.attentionScale,
    attentionCap: config.attentionCap,
    logitCap: config.logitCap,
    window: windows.find((window) => window !== null) ?? null,
    localRopeFrequencies: local === null ? null : [...local],
    blocks: config.blocks.map((block, i) => ({
      rotary: block.ropeFrequencies === null ? null : hasOwnFrequencies(block, config) ? "local" : "global",
      windowed: windows[i] !== null,
    })),
  };
  return isLlama(traits, config) ? null : traits;
}

function hasOwnFrequencies({ ropeFrequencies }: BlockConfig, config: LlamaConfig): boolean {
  return ropeFrequencies !== null && ropeFrequencies !== config.ropeFrequencies;
}

function isLlama(traits: Traits, { headDim }: LlamaConfig): boolean {
  const { biases, headNorms, postNorms, gelu, attentionScale, attentionCap, logitCap, window, blocks } = traits;
  const has = biases || headNorms || postNorms || gelu || attentionCap !== null || logitCap !== null || window !== null;
  return !has && attentionScale === 1 / Math.sqrt(headDim) && blocks.every(({ rotary }) => rotary === "global");
}
