import { Placement } from "../shared/decode/placement.ts";
import type { DecodeRequest, Elsewhere } from "../shared/decode/run.ts";
import { StepError } from "../shared/errors.ts";
import type { TokenId } from "../shared/ids.ts";
import { LIMITS } from "../shared/limits.ts";
import { createRescorer } from "../shared/rescore/index.ts";
import { type CompletionParams, invalid } from "./openai/params.ts";
import { planDraft } from "./openai/speculation.ts";
import type { Bundle, Bundles } from "./text/bundles.ts";

/** A request ready to decode; `signal` and the clock are the caller's. */
export interface Prepared {
  readonly bundle: Bundle;
  readonly promptTokens: number;
  readonly request: Omit<DecodeRequest, "signal" | "now"> & { readonly elsewhere: Elsewhere };
}

/** Completion tokens where the completions API names none, as OpenAI's. */
const COMPLETIONS_MAX_TOKENS = 16;

/**
 * No tokenizer packs ordinary text this densely. Longer prompts are refused before they are tokenized,
 * which would take seconds for a body of the largest size.
 */
const CHARACTERS_PER_TOKEN = 16;

/** Loads what the request needs and tokenizes it, for `tenant` (OpenSpec). Throws StepError naming the field at fault. */
export async function prepare(params: CompletionParams, bundles: Bundles, tenant: string): Promise<Prepared> {
  const manifest = await bundles.manifest(params.model);
  const plan = planDraft(params.speculation, manifest);
  const bundle = await bundles.bundle(manifest.name);
  const contextTokens = Math.min(manifest.architecture.contextTokens, LIMITS.contextTokens);
  const prompt = promptTokens(params, bundle, contextTokens);
  const maxTokens = completionRoom(params, prompt.length, contextTokens);
  const pack = plan.pack === null ? null : await bundles.pack(manifest, plan.pack);
  return {
    bundle,
    promptTokens: prompt.length,
    request: {
      spec: {
        model: manifest.name,
        prompt: Uint32Array.from(prompt),
        heads: plan.heads,
        topK: plan.topK,
        sampling: { temperature: params.temperature, topP: params.topP, seed: params.seed ?? randomSeed() },
        logProbs: params.logProbs,
        ...plan.engine,
        fixed: !plan.autoNodes,
        tenant,
      },
      limits: { maxTokens, eosTokens: manifest.eosTokens },
      rescorer: createRescorer(plan.rescorer, pack, manifest.calibration),
      maxNodes: plan.maxNodes,
      autoNodes: plan.autoNodes,
      tokenizerHash: manifest.tokenizer.sha256,
      elsewhere: {
        placement: new Placement(params.speculation.placement),
        run: {
          rescorer: plan.rescorer,
          pack: plan.pack?.sha256 ?? null,
          maxNodes: plan.maxNodes,
          autoNodes: plan.autoNodes,
          limits: { maxTokens, eosTokens: manifest.eosTokens },
          verified: params.speculation.trace || params.speculation.receipt,
        },
      },
    },
  };
}

function promptTokens({ input }: CompletionParams, bundle: Bundle, contextTokens: number): TokenId[] {
  const { tokenizer, manifest } = bundle;
  if (input.kind === "tokens") {
    const outside = input.tokens.findIndex((token) => token >= tokenizer.size);
    if (outside >= 0) throw invalid(`prompt[${outside}]`, `the vocabulary ends at ${tokenizer.size - 1}`);
    return [...input.tokens];
  }
  const texts = input.kind === "text" ? [input.text] : input.messages.map((m) => m.content);
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  if (characters > contextTokens * CHARACTERS_PER_TOKEN) {
    throw tooLong(inputParam(input.kind), `at least ${Math.floor(characters / CHARACTERS_PER_TOKEN)}`, contextTokens);
  }
  if (input.kind === "messages") {
    if (bundle.chatPrompt === null) {
      throw new StepError(
        "unsupported",
        `Model '${manifest.name}' has no chat template; use /v1/completions.`,
        "messages",
      );
    }
    return bundle.chatPrompt(input.messages);
  }
  // A raw prompt is the whole context as its author wants it, so control tokens in it count.
  const tokens = tokenizer.encodeMarked(input.text);
  return manifest.bosToken === null ? tokens : [manifest.bosToken, ...tokens];
}

/** Completion tokens allowed: those asked for, which must fit, or a default cut to what fits. */
function completionRoom(params: CompletionParams, promptLength: number, contextTokens: number): number {
  const room = contextTokens - promptLength;
  if (room < 1) throw tooLong(inputParam(params.input.kind), String(promptLength), contextTokens);
  if (params.maxTokens !== null && params.maxTokens > room) {
    throw new StepError(
      "context_length_exceeded",
      `The context holds ${contextTokens} tokens: the prompt has ${promptLength}, and ${params.maxTokens} more do not fit.`,
      params.maxTokensParam,
    );
  }
  const fallback = params.api === "chat" ? LIMITS.completionTokens : COMPLETIONS_MAX_TOKENS;
  return params.maxTokens ?? Math.min(room, fallback);
}

function inputParam(kind: CompletionParams["input"]["kind"]): string {
  return kind === "messages" ? "messages" : "prompt";
}

function tooLong(param: string, tokens: string, contextTokens: number): StepError {
  const message = `The context holds ${contextTokens} tokens, and one must be left to complete; the prompt has ${tokens}.`;
  return new StepError("context_length_exceeded", message, param);
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
