import * as z from "zod";
import type { BundleManifest } from "../../shared/manifest.ts";
import { availableRescorers, type RescorerType, rescorerModule } from "../../shared/rescore/index.ts";
import { PARAM_NAMES, paramsToWire, wireName } from "../../shared/rescore/params.ts";

/** One entry of /v1/models. */
export function modelBody(manifest: BundleManifest, created: number) {
  const { defaults } = manifest;
  return {
    id: manifest.name,
    object: "model",
    created,
    owned_by: "foredraft",
    context_tokens: manifest.architecture.contextTokens,
    license: manifest.license,
    notice: manifest.notice,
    chat: manifest.chatTemplate !== null,
    speculation: {
      heads: manifest.latticeHeads,
      top_k: manifest.topK,
      packs: manifest.packs.map(({ name, order, ngrams }) => ({ name, order, ngrams })),
      rescorers: availableRescorers(manifest),
      rescorer_settings: Object.fromEntries(
        availableRescorers(manifest).map((type) => [type, settingsOf(type, manifest)]),
      ),
      neural: manifest.graphs.neural === null ? null : { alpha: defaults.neuralAlpha },
      defaults: {
        heads: defaults.heads,
        top_k: defaults.topK,
        rescorer: {
          type: defaults.rescorer.type,
          model: defaults.rescorer.model,
          order: defaults.rescorer.order,
          alpha: defaults.rescorer.alpha,
          p_best: defaults.rescorer.pBest,
          prompt: defaults.rescorer.prompt ?? false,
        },
      },
    },
  };
}

/** For a client that lets its user choose: what a rescorer is called and does, and of each setting default and bounds. */
function settingsOf(type: RescorerType, manifest: BundleManifest) {
  const { title, summary, usesPack, paramsSchema, defaults } = rescorerModule(type);
  const { model } = manifest.defaults.rescorer;
  const { properties = {} } = z.toJSONSchema(paramsSchema, { io: "input" });
  return {
    title,
    summary,
    defaults: { ...(usesPack ? { model } : {}), ...paramsToWire(defaults(manifest)) },
    settings: {
      ...(usesPack && manifest.packs.length > 0 ? { model: packSetting(manifest) } : {}),
      ...Object.fromEntries(
        PARAM_NAMES.flatMap((name) => (name in properties ? [[wireName(name), properties[name]]] : [])),
      ),
    },
  };
}

function packSetting({ packs }: BundleManifest) {
  return {
    title: "Language model",
    description: "The n-gram pack that says which tokens follow each other.",
    type: "string",
    enum: packs.map(({ name }) => name),
  };
}
