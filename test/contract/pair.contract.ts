import { expect, test } from "vitest";
import { EMPTY_TREE } from "../../shared/draft-tree.ts";
import { LIMITS } from "../../shared/limits.ts";
import { codeOf, never, type Probe } from "./probe.ts";

/** What lattices tell beside their candidates, where it is asked for and the model has it. */
export function pairContract(probe: () => Probe): void {
  const latticeWith = async (pair: boolean | undefined) => {
    const session = await probe().open({ ...probe().withHeads(), pair, fixed: true });
    const { lattice } = await session.step(0, EMPTY_TREE, never);
    session.close();
    return lattice;
  };

  test("a lattice has a query only where it is asked for, and is the same without", async () => {
    const plain = await latticeWith(undefined);
    expect(plain.query).toBeNull();
    expect(await latticeWith(false)).toEqual(plain);
    if (probe().info.pair !== true) return expect(await codeOf(latticeWith(true))).toBe("invalid_request");
    const { query, ...rest } = await latticeWith(true);
    expect({ ...rest, query: null }).toEqual(plain);
    expect(query!.values.length % 8).toBe(0);
    expect(query!.values.length).toBeLessThanOrEqual(2 * LIMITS.pairRank);
    const halves = [query!.values.slice(0, query!.values.length / 2), query!.values.slice(query!.values.length / 2)];
    for (const half of halves) expect(Math.max(...half.map(Math.abs))).toBe(127);
    expect(query!.scales).toEqual(query!.scales.map(Math.fround));
  });
}
