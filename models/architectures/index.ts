import * as all from "./all.ts";
import type { Architecture } from "./architecture.ts";

export type { Architecture, Projection } from "./architecture.ts";

const byName: ReadonlyMap<string, Architecture> = new Map(Object.values(all).map((one) => [one.name, one]));

export const ARCHITECTURES: readonly string[] = [...byName.keys()].sort();

/** undefined: none of that name. */
export function architectureNamed(name: string): Architecture | undefined {
  return byName.get(name);
}
