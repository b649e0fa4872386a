import type { Architecture } from "./architecture.ts";

/** Phi-3 with its short context; factors for longer ones (LongRoPE) are not read. */
export const phi3: Architecture = {
  name: "phi3",
  rotaryRows: "halves",
  fused: true,
  unwindowedEvery: Number.POSITIVE_INFINITY,
};
