import type { Architecture } from "./architecture.ts";

export const smollm3: Architecture = { name: "smollm3", rotaryRows: "pairs", unrotatedEvery: 4 };
