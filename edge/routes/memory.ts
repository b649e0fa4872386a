import { StepError } from "../../shared/errors.ts";
import { checkRate } from "../http/limits.ts";
import type { MemoryStore } from "../memory/memory.ts";
import type { AppContext, Services } from "../services.ts";

/** GET /v1/memory: how much is remembered of the caller. */
export async function memoryRoute(c: AppContext, services: Services): Promise<Response> {
  const store = await storeOf(c, services);
  return c.json({ object: "memory", ...(await store.size()) });
}

/** DELETE /v1/memory: removes all of it, and what runs now does not add to it. */
export async function forgetRoute(c: AppContext, services: Services): Promise<Response> {
  const store = await storeOf(c, services);
  await store.forget();
  return c.json({ object: "memory", deleted: true });
}

/** Throws StepError. */
async function storeOf(c: AppContext, { memory, limiter, config }: Services): Promise<MemoryStore> {
  await checkRate(limiter, c.get("caller"), config);
  const { memoryName } = c.get("caller");
  if (memoryName === null || memory === null) {
    throw new StepError("unsupported", "There is no memory here: it needs a deployment with API keys.");
  }
  return memory(memoryName);
}
