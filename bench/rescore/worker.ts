import { PairTables } from "../../shared/rescore/pair-scores.ts";
import { readCases } from "./inputs.ts";
import { withQueries } from "./pairs.ts";
import { runSuite } from "./suite.ts";

/** The suite inside workerd. Body: u32 lengths of the pack and of the tables of pairs, the pack, the tables, the lattices. */
export default {
  async fetch(request: Request): Promise<Response> {
    const query = new URL(request.url).searchParams;
    const body = new Uint8Array(await request.arrayBuffer());
    const lengths = new DataView(body.buffer);
    const tables = 8 + lengths.getUint32(0, true);
    const lattices = tables + lengths.getUint32(4, true);
    const pair = new PairTables(body.subarray(tables, lattices));
    const result = runSuite(body.slice(8, tables), {
      alpha: Number(query.get("alpha")),
      cases: withQueries(readCases(body.subarray(lattices)), pair.rank),
      pair,
      rounds: Number(query.get("rounds")),
      textTokens: Number(query.get("tokens")),
      now: () => performance.now(),
    });
    return Response.json(result);
  },
};
