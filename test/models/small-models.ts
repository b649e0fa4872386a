import { readdirSync } from "node:fs";
import { join } from "node:path";

/** Small random models of every architecture: NAME.gguf, and NAME.json with what they should compute (train/small_models.py). */
export const SMALL = join(import.meta.dirname, "small");

export const SMALL_MODELS: readonly string[] = readdirSync(SMALL)
  .filter((name) => name.endsWith(".gguf"))
  .map((name) => name.slice(0, -".gguf".length));
