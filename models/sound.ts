import { sourceOf } from "./bundle.ts";
import { isGguf } from "./given.ts";
import { HUB } from "./hub.ts";

/** Looks into every GGUF file on this machine: what is wrong with one is told before another is compiled, which may take minutes. */
export async function checkFiles(models: readonly string[]): Promise<void> {
  for (const model of models) if (isGguf(model) && !model.startsWith(HUB)) await sourceOf(model, {});
}
