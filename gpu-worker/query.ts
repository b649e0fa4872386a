import { assert } from "../shared/assert.ts";
import type { OpenSpec } from "../shared/engine.ts";
import { type Lattice, pairQuery } from "../shared/lattice.ts";
import type { HeadsOutput } from "./model.ts";

/** The lattice of the heads, with its query where the session wants it. */
export function withQuery({ lattice, query }: HeadsOutput, { pair = false }: Pick<OpenSpec, "pair">): Lattice {
  if (!pair) return lattice;
  assert(query !== null, "the engine refuses what its bundle lacks");
  return { ...lattice, query: pairQuery(query) };
}
