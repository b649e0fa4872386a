import * as z from "zod";
import { chain, type DraftTree } from "../draft-tree.ts";
import type { Lattice } from "../lattice.ts";
import type { RescorerModule } from "./module.ts";
import type { Rescorer } from "./rescorer.ts";

/** The first candidate of every column, one chain. */
export function chainOfFirst(): Rescorer {
  return {
    commit() {},
    draft(lattice: Lattice, maxNodes: number): DraftTree {
      const tokens = new Uint32Array(lattice.k === 0 ? 0 : Math.min(lattice.heads, maxNodes));
      for (let i = 0; i < tokens.length; i++) tokens[i] = lattice.tokens[i * lattice.k]!;
      return chain(tokens);
    },
  };
}

/** Plain blockwise parallel decoding: the likeliest token of every head. */
export const noneModule: RescorerModule<Record<never, never>> = {
  type: "none",
  title: "none",
  summary: "the likeliest candidate of every head, one path",
  paramsSchema: z.object({}),
  usesPack: false,
  calibrated: false,
  needs: () => null,
  defaults: () => ({}),
  mostNodes: (_, heads) => heads,
  create: chainOfFirst,
};
