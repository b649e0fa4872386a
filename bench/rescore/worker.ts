import { readCases } from "./inputs.ts";
import { runSuite } from "./suite.ts";

/** The suite inside workerd. Body: u32 length of the pack, the pack, the lattices. */
export default {
  async fetch(request: Request): Promise<Response> {
    const query = new URL(request.url).searchParams;
    const body = new Uint8Array(await request.arrayBuffer());
    const packBytes = new DataView(body.buffer).getUint32(0, true);
    const result = runSuite(body.slice(4, 4 + packBytes), {
      alpha: Number(query.get("alpha")),
      cases: readCases(body.slice(4 + packBytes)),
      rounds: Number(query.get("rounds")),
      textTokens: Number(query.get("tokens")),
      now: () => performance.now(),
    });
    return Response.json(result);
  },
};
