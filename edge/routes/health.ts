import { StepError } from "../../shared/errors.ts";
import type { AppContext, Services } from "../services.ts";

/** GET /readyz: the engine answers and serves one of our bundles, tokenized the way we do. */
export async function readyRoute(c: AppContext, { bundles, engineInfo }: Services): Promise<Response> {
  const engine = await engineInfo(c.req.raw.signal);
  const manifest = bundles.names.includes(engine.model) ? await bundles.manifest(engine.model) : null;
  if (manifest === null || manifest.tokenizer.sha256 !== engine.tokenizerHash) {
    throw new StepError(
      "engine_unavailable",
      `The engine serves '${engine.model}', which is not the model deployed here.`,
    );
  }
  const { model, provider, contextTokens, costs } = engine;
  return c.json({
    status: "ready",
    model,
    provider,
    context_tokens: contextTokens,
    pass_cost_ms: costs,
  });
}
