import type { Architecture } from "./architecture.ts";

/** The first Gemma. */
export const gemma: Architecture = { name: "gemma", rotaryRows: "halves", activation: "gelu", scaledEmbedding: true };
