import * as z from "zod";
import { LIMITS } from "../../shared/limits.ts";
import { tokenize } from "../completion/prepare.ts";
import { readJson } from "../http/body.ts";
import { checkRate } from "../http/limits.ts";
import { asObject, check, invalid } from "../openai/check.ts";
import { parseChat, parseCompletion } from "../openai/params.ts";
import { checkTokens } from "../openai/sizes.ts";
import { toolFields } from "../openai/tools.ts";
import type { AppContext, Services } from "../services.ts";
import { Detokenizer, tokenText } from "../text/detokenize.ts";

export const tokenizeBody = z.strictObject({
  model: z.string().nullish(),
  prompt: z.string().nullish().meta({ description: "A raw prompt." }),
  content: z.string().nullish().meta({ description: "The same." }),
  messages: z.array(z.unknown()).nullish().meta({ description: "A chat, as /v1/chat/completions takes it." }),
  tools: toolFields.tools.meta({ description: "The chat's tools, which its template may write." }),
  add_special_tokens: z.boolean().nullish().meta({
    description: "false: a raw prompt without the token for a beginning. A chat is as its template says.",
  }),
  return_token_strs: z.boolean().nullish(),
});

export const detokenizeBody = z.strictObject({
  model: z.string().nullish(),
  tokens: z.array(z.int().min(0)).max(LIMITS.contextTokens),
});

/** POST /tokenize: the tokens that a prompt or a chat would begin with. */
export async function tokenizeRoute(c: AppContext, services: Services): Promise<Response> {
  await checkRate(services.limiter, c.get("caller"), services.config);
  const { model, messages, tools, ...wire } = check(tokenizeBody, asObject(await readJson(c.req.raw)));
  const prompt = wire.prompt ?? wire.content;
  if (prompt == null && messages == null) throw invalid("prompt", "it or messages is needed");
  const params = messages == null ? parseCompletion({ model, prompt }) : parseChat({ model, messages, tools });
  const { bundle, prompts, contextTokens } = await tokenize(
    params,
    services.bundles,
    c.get("caller").key?.record.limits.maxContext,
  );
  const isBare = messages == null && wire.add_special_tokens === false && bundle.manifest.bosToken !== null;
  const tokens = [...prompts[0]!.subarray(isBare ? 1 : 0)];
  return c.json({
    count: tokens.length,
    max_model_len: contextTokens,
    tokens,
    token_strs: wire.return_token_strs ? tokens.map((token) => tokenText(bundle.tokenizer, token)) : null,
  });
}

/** POST /detokenize: tokens as text. */
export async function detokenizeRoute(c: AppContext, services: Services): Promise<Response> {
  await checkRate(services.limiter, c.get("caller"), services.config);
  const body = asObject(await readJson(c.req.raw));
  if (Array.isArray(body.tokens)) checkTokens("tokens", body.tokens);
  const { model, tokens } = check(detokenizeBody, body);
  const { tokenizer } = await services.bundles.bundle(model ?? null);
  const outside = tokens.findIndex((token) => token >= tokenizer.size);
  if (outside >= 0) throw invalid(`tokens[${outside}]`, `the vocabulary ends at ${tokenizer.size - 1}`);
  const detokenizer = new Detokenizer(tokenizer);
  return c.json({ prompt: tokens.map((token) => detokenizer.push(token)).join("") + detokenizer.end() });
}
