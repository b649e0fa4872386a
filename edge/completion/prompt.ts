import { StepError } from "../../shared/errors.ts";
import type { TokenId } from "../../shared/ids.ts";
import { LIMITS } from "../../shared/limits.ts";
import { invalid } from "../openai/check.ts";
import type { CompletionParams, Input } from "../openai/params.ts";
import { firstTokens, leastTokens } from "../text/bounded.ts";
import type { Bundles, TextBundle } from "../text/bundles.ts";
import { Detokenizer } from "../text/detokenize.ts";

/** No tokenizer packs ordinary text this densely: longer texts are refused before they are encoded. */
const CHARACTERS_PER_TOKEN = 16;

/**
 * The request's prompts as token ids, and how many tokens a context holds, at most `most`. Throws StepError, as all that
 * follows.
 */
export async function tokenize(params: CompletionParams, bundles: Bundles, most?: number | null) {
  const bundle = await bundles.bundle(params.model);
  const { contextTokens: held } = bundle.manifest.architecture;
  const contextTokens = Math.min(held, most ?? LIMITS.contextTokens, LIMITS.contextTokens);
  return { bundle, prompts: tokenized(params, bundle, contextTokens), contextTokens };
}

/** Token ids of the prediction, as many as a context holds; null where there is none. */
export function predictionTokens(
  { prediction }: CompletionParams,
  { tokenizer }: TextBundle,
  contextTokens: number,
): Uint32Array | null {
  if (prediction === null || prediction === "") return null;
  if (prediction.length > contextTokens * CHARACTERS_PER_TOKEN) {
    throw invalid("prediction.content", `at most ${contextTokens * CHARACTERS_PER_TOKEN} characters`);
  }
  return Uint32Array.from(firstTokens(prediction, tokenizer.encodePlain, contextTokens));
}

/** Token ids of every input. */
function tokenized(params: CompletionParams, bundle: TextBundle, contextTokens: number): Uint32Array[] {
  const texts = params.inputs.map(textsOf);
  const characters = texts.reduce((sum, { length }) => sum + length, 0);
  if (characters > contextTokens * CHARACTERS_PER_TOKEN) {
    throw tooLong(params.inputParam, `at least ${Math.floor(characters / CHARACTERS_PER_TOKEN)}`, contextTokens);
  }
  return params.inputs.map((input, at) => {
    const param = params.inputs.length > 1 ? `${params.inputParam}[${at}]` : params.inputParam;
    const { encodePlain, encodeMarked } = bundle.tokenizer;
    const encode = input.kind === "text" ? (text: string) => encodeMarked(text) : encodePlain;
    const least = leastTokens(texts[at]!, encode, contextTokens);
    if (least > contextTokens) throw tooLong(param, `at least ${least}`, contextTokens);
    const tokens = tokensOf(input, param, bundle);
    if (tokens.length >= contextTokens) throw tooLong(param, String(tokens.length), contextTokens);
    return Uint32Array.from(tokens);
  });
}

/** What of an input is text, all of which is in the prompt. */
function textsOf(input: Input): string {
  if (input.kind === "tokens") return "";
  if (input.kind === "text") return input.text;
  const tools = input.tools.map((tool) => JSON.stringify(tool));
  const said = input.messages.flatMap(({ content, calls = [] }) => [content, ...calls.map((call) => call.arguments)]);
  return [...tools, ...said].join("\n");
}

function tokensOf(input: Input, param: string, { tokenizer, manifest, chatPrompt }: TextBundle): readonly TokenId[] {
  if (input.kind === "tokens") {
    const outside = input.tokens.findIndex((token) => token >= tokenizer.size);
    if (outside >= 0) throw invalid(`${param}[${outside}]`, `the vocabulary ends at ${tokenizer.size - 1}`);
    return input.tokens;
  }
  if (input.kind === "messages") {
    if (chatPrompt !== null) return chatPrompt(input.messages, input.tools);
    throw new StepError("unsupported", `Model '${manifest.name}' has no chat template; use /v1/completions.`, param);
  }
  // A raw prompt is the whole context as its author wants it, so control tokens in it count.
  const tokens = tokenizer.encodeMarked(input.text);
  return manifest.bosToken === null ? tokens : [manifest.bosToken, ...tokens];
}

/** A raw prompt as text. */
export function textOf(input: Input, { tokenizer }: TextBundle): string {
  if (input.kind === "text") return input.text;
  if (input.kind === "messages") return "";
  const detokenizer = new Detokenizer(tokenizer);
  return input.tokens.map((token) => detokenizer.push(token)).join("") + detokenizer.end();
}

function tooLong(param: string, tokens: string, contextTokens: number): StepError {
  const message = `The context holds ${contextTokens} tokens, and one must be left to complete; the prompt has ${tokens}.`;
  return new StepError("context_length_exceeded", message, param);
}
