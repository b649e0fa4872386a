import { type Place, Placement } from "../../shared/decode/placement.ts";
import type { DecodeRequest, Elsewhere } from "../../shared/decode/run.ts";
import type { OpenSpec } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import type { TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import type { TokenId } from "../../shared/ids.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import type { PairTables } from "../../shared/rescore/pair-scores.ts";
import type { KeyLimits } from "../keys/record.ts";
import { type MemoryStore, Recollection } from "../memory/memory.ts";
import { invalid } from "../openai/check.ts";
import type { CompletionParams, Input } from "../openai/params.ts";
import { named } from "../openai/structured.ts";
import type { StoredPack } from "../packs/pack-store.ts";
import type { TenantPacks } from "../packs/tenant-packs.ts";
import type { Bundles, TextBundle } from "../text/bundles.ts";
import { Detokenizer } from "../text/detokenize.ts";
import { isTooLong } from "../text/too-long.ts";
import { type DraftPlan, planDraft } from "./draft-plan.ts";

/** A request ready to decode; `signal` and the clock are the caller's. */
export interface Prepared {
  readonly bundle: TextBundle;
  /** Tokens of all prompts. */
  readonly promptTokens: number;
  /** Where the request is to be remembered; null: nowhere. */
  readonly recollection: Recollection | null;
  /** Most nodes of a draft; 0 where speculation is off. */
  readonly maxNodes: number;
  readonly stop: readonly string[];
  /** Whether a receipt is kept. */
  readonly receipt: boolean;
  /** At least one; all of the first prompt come first. */
  readonly choices: readonly PreparedChoice[];
}

/** One completion to be made. */
export interface PreparedChoice {
  /** Text before the completion. */
  readonly echo: string;
  /** Number of an earlier choice of the same prompt; null for the first one. */
  readonly sharesWith: number | null;
  readonly request: Omit<DecodeRequest, "signal" | "now"> & { readonly elsewhere: Elsewhere };
}

/** Whose request it is. */
export interface Tenant {
  /** OpenSpec.tenant. */
  readonly name: string;
  /** What is remembered of it; null where nothing is. */
  readonly memory: MemoryStore | null;
  /** What its key allows; null: anything. */
  readonly limits: Pick<KeyLimits, "maxContext" | "rescorers"> | null;
  /** What it has uploaded; null where nothing can be. */
  readonly packs: TenantPacks | null;
  readonly logError: (error: unknown) => void;
}

/** What prepares: the bundles served, and for whom. */
export interface Preparing {
  readonly bundles: Bundles;
  readonly tenant: Tenant;
  /** Where it is decoded; default "edge". */
  readonly here?: Place | undefined;
}

/** Completion tokens where a request names none; the completions API's as OpenAI's. */
const CHAT_MAX_TOKENS = 1024;
const COMPLETIONS_MAX_TOKENS = 16;

/**
 * No tokenizer packs ordinary text this densely. Longer prompts are refused before they are tokenized,
 * which would take seconds for a body of the largest size.
 */
const CHARACTERS_PER_TOKEN = 12;

/** Loads what the request needs and tokenizes it. Throws StepError naming the field at fault. */
export async function prepare(params: CompletionParams, preparing: Preparing): Promise<Prepared> {
  const { bundles, tenant, here = "edge" } = preparing;
  const manifest = await bundles.manifest(params.model);
  const own = await ownPack(params, manifest, tenant);
  const allowed = tenant.limits?.rescorers ?? null;
  const plan = planDraft(params.speculation, manifest, { own, predicted: params.prediction !== null, allowed });
  checkBias(params, manifest.architecture.vocabSize);
  // First what takes least: a prompt may hold a word as long as itself, which is ten times the work of the largest grammar.
  const grammar = grammarOf(params, await bundles.bundle(params.model));
  const { bundle, prompts, contextTokens } = await tokenize(params, bundles, tenant.limits?.maxContext);
  const prediction = predicted(params, bundle, contextTokens);
  const pack = await packOf(plan, manifest, preparing);
  const pair = plan.engine.pair ? await bundles.pair(manifest) : null;
  const recollection = plan.memory ? await recollectionOf(tenant, manifest.tokenizer.sha256) : null;
  const seed = params.seed ?? randomSeed();
  const choices = prompts.flatMap((prompt, at) => {
    const maxTokens = completionTokens(params, prompt.length, contextTokens);
    const echo = params.echo ? textOf(params.inputs[at]!, bundle) : "";
    return Array.from({ length: params.n }, (_, i): PreparedChoice => {
      const sampling = { ...params.sampling, seed: (seed + i) % 2 ** 32 };
      const held = params.grammar === null ? {} : { grammar: params.grammar.source };
      const spec = { model: manifest.name, prompt, sampling, logProbs: params.logProbs, tenant: tenant.name, ...held };
      const sharesWith = i === 0 ? null : at * params.n;
      const parts = { params, plan, bundle, pack, pair, prediction, recollection, maxTokens, grammar, here };
      return { echo, sharesWith, request: requestOf(parts, spec) };
    });
  });
  const promptTokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const { stop } = params;
  const { receipt } = params.speculation;
  return { bundle, promptTokens, recollection, maxNodes: plan.maxNodes, stop, receipt, choices };
}

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

interface Parts {
  readonly params: CompletionParams;
  readonly plan: DraftPlan;
  readonly bundle: TextBundle;
  readonly pack: NgramModel | null;
  readonly pair: PairTables | null;
  readonly prediction: Uint32Array | null;
  readonly recollection: Recollection | null;
  readonly here: Place;
  readonly maxTokens: number;
  /** null: the answer is held to none. */
  readonly grammar: TokenGrammar | null;
}

/** Throws StepError naming the field that asks for a grammar which cannot be had. */
function grammarOf({ grammar }: CompletionParams, { grammars }: TextBundle): TokenGrammar | null {
  if (grammar === null) return null;
  return named(grammar.param, () => grammars.of(grammar.source));
}

function requestOf(
  { params, plan, bundle, pack, pair, prediction, recollection, maxTokens, grammar, here }: Parts,
  spec: Pick<OpenSpec, "model" | "prompt" | "sampling" | "logProbs" | "tenant" | "grammar">,
): PreparedChoice["request"] {
  const { manifest } = bundle;
  const { heads, topK, engine, autoNodes } = plan;
  const { forced, trace, receipt } = params.speculation;
  // What a grammar forces goes on beyond the heads.
  const maxNodes = forced && grammar !== null && autoNodes ? LIMITS.draftNodes : plan.maxNodes;
  const limits = { maxTokens, eosTokens: manifest.eosTokens };
  const rescorer = createRescorer(plan.rescorer, pack, manifest.calibration, prediction, pair);
  if (recollection !== null) rescorer.recall?.(recollection.texts);
  return {
    spec: { ...spec, heads, topK, ...engine, fixed: !autoNodes },
    limits,
    rescorer,
    guide: forced ? grammar : null,
    maxNodes,
    autoNodes,
    tokenizerHash: manifest.tokenizer.sha256,
    here,
    elsewhere: {
      placement: new Placement(here === "gpu" ? here : params.speculation.placement, plan.maxNodes === 0),
      hints: rescorer.calibrated === true && recollection !== null && recollection.texts.length > 0,
      run: {
        ...plan.elsewhere,
        maxNodes,
        autoNodes,
        ...(prediction === null ? {} : { prediction }),
        limits,
        guided: forced,
        verified: trace || receipt,
      },
    },
  };
}

/** What `rescorer.model` names of the tenant's own packs; null: nothing. A pack of the bundle goes first. */
async function ownPack(
  { speculation: { rescorer } }: CompletionParams,
  { packs }: BundleManifest,
  tenant: Tenant,
): Promise<StoredPack | null> {
  const { model } = rescorer;
  if (model === null || packs.some(({ name }) => name === model)) return null;
  return (await tenant.packs?.find(model)) ?? null;
}

async function packOf(
  { pack, ownPack }: DraftPlan,
  manifest: BundleManifest,
  { bundles, tenant }: Preparing,
): Promise<NgramModel | null> {
  if (ownPack !== null) return (await tenant.packs?.load(ownPack)) ?? null;
  return pack === null ? null : await bundles.pack(manifest, pack);
}

async function recollectionOf({ memory, logError }: Tenant, tokenizer: string): Promise<Recollection> {
  if (memory === null) throw invalid("speculation.rescorer.memory", "it needs a deployment with API keys");
  return await Recollection.of(memory, tokenizer, logError);
}

/** Token ids of the prediction, as many as a context holds; null where there is none. */
function predicted(
  { prediction }: CompletionParams,
  { tokenizer }: TextBundle,
  contextTokens: number,
): Uint32Array | null {
  if (prediction === null || prediction === "") return null;
  if (prediction.length > contextTokens * CHARACTERS_PER_TOKEN) {
    throw invalid("prediction.content", `at most ${contextTokens * CHARACTERS_PER_TOKEN} characters`);
  }
  return Uint32Array.from(tokenizer.encodePlain(prediction).slice(0, contextTokens));
}

function checkBias({ sampling }: CompletionParams, vocabSize: number): void {
  const outside = sampling.adjust?.biasTokens.find((token) => token >= vocabSize);
  if (outside !== undefined) throw invalid(`logit_bias.${outside}`, `the vocabulary ends at ${vocabSize - 1}`);
}

/** Token ids of every input. */
function tokenized(params: CompletionParams, bundle: TextBundle, contextTokens: number): Uint32Array[] {
  const characters = params.inputs.reduce((sum, input) => sum + charactersOf(input), 0);
  if (characters > contextTokens * CHARACTERS_PER_TOKEN) {
    throw tooLong(params.inputParam, `at least ${Math.floor(characters / CHARACTERS_PER_TOKEN)}`, contextTokens);
  }
  return params.inputs.map((input, at) => {
    const param = params.inputs.length > 1 ? `${params.inputParam}[${at}]` : params.inputParam;
    if (certainlyTooLong(input, bundle, contextTokens)) throw tooLong(param, "more", contextTokens);
    const tokens = tokensOf(input, param, bundle);
    if (tokens.length >= contextTokens) throw tooLong(param, String(tokens.length), contextTokens);
    return Uint32Array.from(tokens);
  });
}

/** By what a template can leave out nothing of; it may trim messages and write calls and tools in another form. */
function certainlyTooLong(input: Input, { tokenizer }: TextBundle, contextTokens: number): boolean {
  if (input.kind === "tokens") return false;
  if (input.kind === "text") return isTooLong([input.text], contextTokens, (text) => tokenizer.encodeMarked(text));
  const texts = input.messages.map(({ content }) => content.trim());
  return isTooLong(texts, contextTokens, (text) => tokenizer.encodePlain(text));
}

function charactersOf(input: Input): number {
  if (input.kind === "tokens") return 0;
  if (input.kind === "text") return input.text.length;
  const tools = input.tools.length === 0 ? 0 : JSON.stringify(input.tools).length;
  return input.messages.reduce((sum, { content, calls = [] }) => {
    return sum + content.length + calls.reduce((args, call) => args + call.arguments.length, 0);
  }, tools);
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
function textOf(input: Input, { tokenizer }: TextBundle): string {
  if (input.kind === "text") return input.text;
  if (input.kind === "messages") return "";
  const detokenizer = new Detokenizer(tokenizer);
  return input.tokens.map((token) => detokenizer.push(token)).join("") + detokenizer.end();
}

/** Completion tokens allowed: those asked for, or a default, cut to what the context leaves. */
function completionTokens({ api, maxTokens }: CompletionParams, promptLength: number, contextTokens: number): number {
  const fallback = api === "completions" ? COMPLETIONS_MAX_TOKENS : CHAT_MAX_TOKENS;
  return Math.min(maxTokens ?? fallback, contextTokens - promptLength);
}

function tooLong(param: string, tokens: string, contextTokens: number): StepError {
  const message = `The context holds ${contextTokens} tokens, and one must be left to complete; the prompt has ${tokens}.`;
  return new StepError("context_length_exceeded", message, param);
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
