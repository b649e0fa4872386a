import type { Adjustments, BundleInfo, OpenSpec, Sampling } from "../engine.ts";
import { LIMITS } from "../limits.ts";
import type { Fields } from "./fields.ts";
import * as pack from "./packed.ts";
import { times } from "./result.ts";

/** Of a model's or provider's name. */
export const NAME_LENGTH = LIMITS.modelNameLength;

/** What opens a session, and what is served, as fields of a frame (codec.ts). */
export function specFields(spec: OpenSpec): unknown[] {
  const { model, prompt, heads, topK, sampling, logProbs, neural, fixed, tenant } = spec;
  const { answered = 0, grammar = null, runnersUp = 0, pair = false } = spec;
  const { temperature, topP, seed } = sampling;
  const usual = [temperature, topP, seed, logProbs, neural, fixed, tenant];
  const further = [answered, moreFields(sampling), grammar, runnersUp, pair];
  return [model, ...pack.tokens(prompt), heads, topK, ...usual, ...further];
}

/** Throws StepError "bad_frame", as all that follows. */
export function decodeSpec(fields: Fields): OpenSpec {
  const model = fields.text(NAME_LENGTH);
  const prompt = fields.tokens(1, LIMITS.contextTokens);
  const heads = fields.integer(0, LIMITS.latticeHeads);
  const topK = fields.integer(1, LIMITS.topK);
  const temperature = fields.number(0, Number.MAX_VALUE);
  const topP = fields.number(Number.MIN_VALUE, 1);
  const seed = fields.integer(0, 0xffffffff);
  const logProbs = fields.nullable(() => fields.integer(0, LIMITS.topLogProbs));
  const neural = fields.nullable(() => fields.number(0, 1));
  const fixed = fields.flag();
  const tenant = fields.text(LIMITS.tenantLength);
  const answered = fields.integer(0, prompt.length);
  const more = fields.nullable(() => decodeMore(fields.array()));
  const grammar = fields.nullable(() => fields.text(LIMITS.grammarBytes));
  const runnersUp = fields.integer(0, LIMITS.runnersUp);
  const pair = fields.flag();
  const sampling = { temperature, topP, seed, ...more };
  const spec = { model, prompt, heads, topK, sampling, logProbs, neural, fixed, tenant, runnersUp, pair };
  return { ...spec, ...(answered === 0 ? {} : { answered }), ...(grammar === null ? {} : { grammar }) };
}

type More = Pick<Sampling, "topK" | "minP" | "adjust">;

/** The rest of how tokens are chosen; null where all of it is left out. */
function moreFields({ topK, minP, adjust }: More): unknown[] | null {
  if (topK === undefined && minP === undefined && adjust === undefined) return null;
  return [topK ?? null, minP ?? null, adjust === undefined ? null : adjustFields(adjust)];
}

function decodeMore(fields: Fields): More {
  const topK = fields.nullable(() => fields.integer(1, 0xffffffff));
  const minP = fields.nullable(() => fields.number(Number.MIN_VALUE, 1));
  const adjust = fields.nullable(() => decodeAdjust(fields.array()));
  fields.end();
  return {
    ...(topK === null ? {} : { topK }),
    ...(minP === null ? {} : { minP }),
    ...(adjust === null ? {} : { adjust }),
  };
}

function adjustFields({ biasTokens, biases, repetition, frequency, presence }: Adjustments): unknown[] {
  return [...pack.tokens(biasTokens), pack.float32(biases), repetition, frequency, presence];
}

function decodeAdjust(fields: Fields): Adjustments {
  const biasTokens = fields.tokens(0, LIMITS.biases);
  const biases = fields.float32(biasTokens.length);
  if (!biases.every((bias) => Math.abs(bias) <= LIMITS.bias)) throw fields.fault("a bias out of range");
  const repetition = fields.number(LIMITS.leastRepetition, LIMITS.repetition);
  const frequency = fields.number(-LIMITS.penalty, LIMITS.penalty);
  const presence = fields.number(-LIMITS.penalty, LIMITS.penalty);
  fields.end();
  return { biasTokens, biases, repetition, frequency, presence };
}

export function bundleFields(bundle: BundleInfo): unknown[] {
  const { model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, costs, neural } = bundle;
  const { pair = false } = bundle;
  const { pass, row, wanted, context, heads } = costs;
  const times = pack.float32([pass, row, wanted, context, heads]);
  return [model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, times, neural, pair];
}

export function decodeBundle(fields: Fields): BundleInfo {
  const model = fields.text(NAME_LENGTH);
  const tokenizerHash = fields.text(64);
  const vocabSize = fields.integer(1, 0xffffffff);
  const contextTokens = fields.integer(1, 0xffffffff);
  const latticeHeads = fields.integer(0, LIMITS.latticeHeads);
  const topK = fields.integer(0, LIMITS.topK);
  const provider = fields.text(NAME_LENGTH);
  const [pass, row, wanted, context, heads] = times(fields, 5);
  const costs = { pass: pass!, row: row!, wanted: wanted!, context: context!, heads: heads! };
  const neural = fields.flag();
  const pair = fields.flag();
  fields.end();
  return { model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, costs, neural, pair };
}
