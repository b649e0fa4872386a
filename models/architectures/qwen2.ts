import type { Architecture } from "./architecture.ts";

/** Qwen2 and Qwen2.5. */
export const qwen2: Architecture = { name: "qwen2", rotaryRows: "halves", biases: ["attn_q", "attn_k", "attn_v"] };
