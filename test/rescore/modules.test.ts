import { describe, expect, test } from "vitest";
import { openApiDocument } from "../../edge/openai/openapi.ts";
import { RESCORER_TYPES, rescorerModule, rescorerSpec } from "../../shared/rescore/index.ts";
import { PARAM_NAMES, PARAMS, paramsFromWire, paramsToWire } from "../../shared/rescore/params.ts";

const rescorer = { type: "ngram", model: "general", order: 3, alpha: 0.3, pBest: 2, prompt: true } as const;
const defaults = { heads: 4, topK: 4, rescorer, neuralAlpha: 0.6 };

describe("rescorers", () => {
  test.each(RESCORER_TYPES)("%s takes its own defaults, and leaves other settings alone", (type) => {
    const module = rescorerModule(type);
    const usual = module.defaults({ defaults, graphs: { neural: null } });
    expect(module.paramsSchema.parse(usual)).toEqual(usual);
    expect(
      rescorerSpec(type, { order: 2, alpha: 0.1, pBest: 3, prompt: false, recycled: false, pair: false, ...usual }),
    ).toEqual({
      type,
      ...usual,
    });
  });

  test("have settings that the API knows, and no others", () => {
    const used = new Set(RESCORER_TYPES.flatMap((type) => Object.keys(rescorerModule(type).paramsSchema.shape)));
    expect([...used].sort()).toEqual([...PARAM_NAMES].sort());
    const schema = JSON.stringify(openApiDocument().components.schemas.ChatRequest);
    for (const name of PARAM_NAMES) expect(schema).toContain(PARAMS[name].meta()?.description);
  });

  test("have settings that go to the API's names and back, without those left out", () => {
    const params = { order: 3, alpha: 0, pBest: 4, prompt: false };
    expect(paramsToWire(params)).toEqual({ order: 3, alpha: 0, p_best: 4, prompt: false });
    expect(paramsFromWire({ type: "tree", ...paramsToWire(params) })).toEqual(params);
    expect(paramsFromWire({ alpha: null, model: "x" })).toEqual({});
  });

  test("say what a bundle lacks for them", () => {
    const lacking = { calibration: null, graphs: { neural: null } };
    const missing = RESCORER_TYPES.map((type) => rescorerModule(type).needs(lacking));
    expect(missing).toEqual([
      null,
      null,
      "calibration, which 'path' needs",
      "calibration, which 'tree' needs",
      "neural rescorer",
      "table of pairs, which 'pair' needs",
    ]);
  });
});
