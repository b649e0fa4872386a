import type * as z from "zod";
import type { RescorerModule } from "./module.ts";
import { PARAMS } from "./params.ts";
import { calibratedRescorer, treeModule, treeParams } from "./tree.ts";

const paramsSchema = treeParams.extend({ pBest: PARAMS.pBest });

/** As `tree`, for where a draft is to be one path or a few: those worth most by the same probabilities. */
export const pathModule: RescorerModule<z.infer<typeof paramsSchema>> = {
  ...treeModule,
  type: "path",
  title: "path",
  summary: "the path, or paths, of most expected accepted tokens",
  paramsSchema,
  defaults: (manifest) => ({ ...treeModule.defaults(manifest), pBest: 1 }),
  needs: ({ calibration }) => (calibration == null ? "calibration, which 'path' needs" : null),
  create: ({ pBest, ...params }, parts) => calibratedRescorer(params, parts, pBest),
};
