import type { Architecture } from "./architecture.ts";

/** Llama 1 to 3.x and Mistral, whose files say "llama" too, with or without a window. */
export const llama: Architecture = { name: "llama", rotaryRows: "pairs", unwindowedEvery: Number.POSITIVE_INFINITY };
