import { StepError } from "../../shared/errors.ts";
import { hasKey } from "../http/auth.ts";
import { labelled, type WorkerMetrics } from "../http/prometheus.ts";
import type { AppContext, Services } from "../services.ts";

/** GET /metrics: those of all gpu-workers, for whoever has a key. Throws StepError. */
export async function metricsRoute(c: AppContext, { config, engineMetrics }: Services): Promise<Response> {
  const { metricsKeyHashes, apiKeyHashes } = config;
  const hashes = metricsKeyHashes.length > 0 ? metricsKeyHashes : apiKeyHashes;
  if (hashes.length === 0) throw new StepError("invalid_api_key", "This deployment has no key for metrics.");
  if (!(await hasKey(c.req.raw.headers, hashes))) {
    throw new StepError("invalid_api_key", "Send a key for metrics: Authorization: Bearer <key>.");
  }
  const all: readonly WorkerMetrics[] = await engineMetrics(c.req.raw.signal);
  return c.body(labelled(all), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
}
