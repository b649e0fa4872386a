import type { Architecture } from "./architecture.ts";

export const qwen3: Architecture = { name: "qwen3", rotaryRows: "halves", headNorms: true };
