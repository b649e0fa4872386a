import { chain, type DraftTree } from "../draft-tree.ts";
import type { Lattice } from "../lattice.ts";
import type { Rescorer } from "./rescorer.ts";

/** Plain blockwise parallel decoding: the likeliest token of every head, one chain. */
export function noneRescorer(): Rescorer {
  return {
    commit() {},
    draft(lattice: Lattice, maxNodes: number): DraftTree {
      const tokens = new Uint32Array(lattice.k === 0 ? 0 : Math.min(lattice.heads, maxNodes));
      for (let i = 0; i < tokens.length; i++) tokens[i] = lattice.tokens[i * lattice.k]!;
      return chain(tokens);
    },
  };
}
