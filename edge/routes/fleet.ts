import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { Registry } from "../fleet/registry.ts";
import { registration, workerUrl } from "../fleet/registry.ts";
import { authenticateWorker } from "../http/auth.ts";
import { readJson } from "../http/body.ts";
import { asObject, check, checkField, invalid } from "../openai/check.ts";
import type { AppContext, Services } from "../services.ts";

/** GET /fleet/workers: the gpu-workers that are registered now. */
export async function listWorkersRoute(c: AppContext, services: Services): Promise<Response> {
  const registry = await registryOf(c, services);
  return c.json({ workers: await registry.list() });
}

/** POST /fleet/workers: a gpu-worker registers, or renews its registration. */
export async function registerWorkerRoute(c: AppContext, services: Services): Promise<Response> {
  const registry = await registryOf(c, services);
  const worker = check(registration, asObject(await readJson(c.req.raw)));
  if (!services.bundles.names.includes(worker.model)) {
    throw invalid("model", `the edge serves ${services.bundles.names.join(", ")}, not '${worker.model}'`);
  }
  if (!(await registry.register(worker))) {
    throw new StepError("overloaded", `The fleet has all of its ${LIMITS.fleetWorkers} gpu-workers.`);
  }
  return c.json(worker);
}

/** DELETE /fleet/workers?url=...: a gpu-worker takes no more. */
export async function removeWorkerRoute(c: AppContext, services: Services): Promise<Response> {
  const registry = await registryOf(c, services);
  const url = checkField("url", workerUrl, c.req.query("url"));
  return c.json({ url, removed: await registry.remove(url) });
}

/** For those who have the gpu-workers' key. Throws StepError. */
async function registryOf(c: AppContext, { config, registry }: Services): Promise<Registry> {
  await authenticateWorker(c.req.raw.headers, config);
  if (registry === null) throw new StepError("unsupported", "This deployment has no registry of gpu-workers.");
  return registry;
}
