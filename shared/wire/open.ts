import type { BundleInfo, OpenSpec } from "../engine.ts";
import { LIMITS } from "../limits.ts";
import type { Fields } from "./fields.ts";
import * as pack from "./packed.ts";
import { times } from "./result.ts";

/** Characters of a model's or provider's name. */
export const NAME_LENGTH = 128;

/** What opens a session, and what is served, as fields of a frame (codec.ts). */
export function specFields(spec: OpenSpec): unknown[] {
  const { model, prompt, heads, topK, sampling, logProbs, neural, fixed, tenant, runnersUp = 0 } = spec;
  const { temperature, topP, seed } = sampling;
  return [
    model,
    ...pack.tokens(prompt),
    heads,
    topK,
    temperature,
    topP,
    seed,
    logProbs,
    neural,
    fixed,
    tenant,
    runnersUp,
  ];
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
  const runnersUp = fields.integer(0, LIMITS.runnersUp);
  return {
    model,
    prompt,
    heads,
    topK,
    sampling: { temperature, topP, seed },
    logProbs,
    neural,
    fixed,
    tenant,
    runnersUp,
  };
}

export function bundleFields(bundle: BundleInfo): unknown[] {
  const { model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, costs, neural } = bundle;
  const { pass, row, wanted, context, heads } = costs;
  const times = pack.float32([pass, row, wanted, context, heads]);
  return [model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, times, neural];
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
  fields.end();
  return { model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, costs, neural };
}
