import { modelBody } from "../openai/model-body.ts";
import type { AppContext, Services } from "../services.ts";

/** GET /v1/models */
export async function listModelsRoute(c: AppContext, { bundles, startedAt }: Services): Promise<Response> {
  const manifests = await Promise.all(bundles.names.map((name) => bundles.manifest(name)));
  return c.json({ object: "list", data: manifests.map((manifest) => modelBody(manifest, startedAt)) });
}

/** GET /v1/models/:id */
export async function modelRoute(c: AppContext, { bundles, startedAt }: Services): Promise<Response> {
  return c.json(modelBody(await bundles.manifest(c.req.param("id") ?? ""), startedAt));
}
