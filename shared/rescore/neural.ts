import * as z from "zod";
import type { RescorerModule } from "./module.ts";
import { chainOfFirst } from "./none.ts";
import { PARAMS } from "./params.ts";

const paramsSchema = z.object({ alpha: PARAMS.alpha });

/** Local rescoring (Kim et al. 2024): a lattice that the engine has re-ranked (OpenSpec.neural) is drafted as it comes. */
export const neuralModule: RescorerModule<z.infer<typeof paramsSchema>> = {
  type: "neural",
  title: "neural",
  summary: "a small neural model beside the base model ranks the candidates from left to right",
  paramsSchema,
  usesPack: false,
  calibrated: false,
  needs: ({ graphs }) => (graphs.neural === null ? "neural rescorer" : null),
  defaults: ({ defaults }) => ({ alpha: defaults.neuralAlpha }),
  mostNodes: (_, heads) => heads,
  engine: ({ alpha }) => ({ neural: alpha }),
  create: chainOfFirst,
};
