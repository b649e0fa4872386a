import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Connect, createGpuClient } from "../../edge/engine/gpu-client.ts";
import type { Drafts } from "../../gpu-worker/serve/served.ts";
import { type GpuServer, startServer } from "../../gpu-worker/serve/server.ts";
import { decodeClient } from "../../shared/codec.ts";
import { Placement, type PlacementMode } from "../../shared/decode/placement.ts";
import { type DecodeRequest, decode, type StepEvent } from "../../shared/decode/run.ts";
import type { OpenSpec, StepEngine } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { DRAFTING } from "../fakes/drafting.ts";
import { createFakeEngine } from "../fakes/fake-engine.ts";
import { PLAIN } from "../helpers/session.ts";

/** The edge's client, and what decodes over it, before a real server over a toy model. */

const KEY = "a key of the tests' own";
const PROMPT = [1, 2, 3];
const MAX_TOKENS = 24;
const SPEC: OpenSpec = { ...PLAIN, model: "fake", prompt: Uint32Array.from(PROMPT), heads: 4, topK: 4, tenant: "ann" };

let server: GpuServer | null = null;
afterEach(() => server?.close(0));

const engine = createFakeEngine();
/** What plain decoding writes. */
const TEXT: number[] = [];
for (let i = 0; i < MAX_TOKENS; i++) TEXT.push(engine.next([...PROMPT, ...TEXT]));

/** A client of a server of its own, and the kinds of messages it sends. */
async function client(drafting: Drafts = DRAFTING): Promise<{ readonly remote: StepEngine; readonly sent: string[] }> {
  server = await startServer({ host: "127.0.0.1", port: 0, key: KEY });
  server.serve(engine, drafting);
  const url = `${server.url.replace("http", "ws")}/v1/step`;
  const sent: string[] = [];
  const connect: Connect = async () => {
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${KEY}` } });
    socket.binaryType = "arraybuffer";
    await new Promise((open) => socket.once("open", open));
    return {
      send(data) {
        sent.push(decodeClient(data).type);
        socket.send(data);
      },
      close: () => socket.close(),
      addEventListener: (type: "message" | "close" | "error", listener: (event: never) => void) =>
        socket.addEventListener(type, listener as () => void),
    };
  };
  return { remote: createGpuClient(connect), sent };
}

function request(mode: PlacementMode, change: { readonly maxTokens?: number; readonly eos?: number[] }): DecodeRequest {
  const limits = { maxTokens: change.maxTokens ?? MAX_TOKENS, eosTokens: change.eos ?? [] };
  const size = { maxNodes: 4, autoNodes: false };
  const rescorer = { type: "none" } as const;
  return {
    spec: SPEC,
    limits,
    rescorer: createRescorer(rescorer, null),
    ...size,
    tokenizerHash: null,
    elsewhere: {
      placement: new Placement(mode),
      run: { rescorer, pack: null, limits, guided: false, verified: false, ...size },
    },
    signal: new AbortController().signal,
    now: () => performance.now(),
  };
}

async function all(events: AsyncGenerator<StepEvent, void>) {
  const tokens: number[] = [];
  const places: string[] = [];
  for await (const { committed, place, call } of events) {
    tokens.push(...committed.map(({ token }) => token));
    if (call > 0) places.push(place);
  }
  return { tokens, places: [...new Set(places)] };
}

test("a run that is asked for with the opening needs nothing more, and writes the same", async () => {
  const { remote, sent } = await client();
  const { tokens, places } = await all(decode(remote, request("gpu", {})));
  expect(tokens).toEqual(TEXT);
  expect(places).toEqual(["gpu"]);
  expect(sent).toEqual(["open", "run"]);
});

test("the edge asks for each step where it drafts", async () => {
  const { remote, sent } = await client();
  const { tokens, places } = await all(decode(remote, request("edge", {})));
  expect(tokens).toEqual(TEXT);
  expect(places).toEqual(["edge"]);
  expect(new Set(sent)).toEqual(new Set(["open", "step"]));
});

test("no run is asked for where the first token is the only one", async () => {
  const { remote, sent } = await client();
  const { tokens } = await all(decode(remote, request("gpu", { maxTokens: 1 })));
  expect(tokens).toEqual(TEXT.slice(0, 1));
  expect(sent).toEqual(["open"]);
});

test("nothing is drafted after a first token that ends the text", async () => {
  const { remote } = await client();
  const { tokens } = await all(decode(remote, request("gpu", { eos: [TEXT[0]!] })));
  expect(tokens).toEqual(TEXT.slice(0, 1));
});

test("a run that came with the opening can be paused, and the edge goes on", async () => {
  const { remote } = await client();
  const { elsewhere, ...rest } = request("gpu", {});
  let choices = 0;
  // The engine at first, the edge from the second choice on.
  const placement = new Placement("gpu");
  placement.choose = () => (choices++ === 0 ? "gpu" : "edge");
  const { tokens, places } = await all(decode(remote, { ...rest, elsewhere: { ...elsewhere!, placement } }));
  expect(tokens).toEqual(TEXT);
  expect(places).toEqual(["gpu", "edge"]);
});

test("of two gpu-workers asked at once the one that is kept goes on by what it was asked itself", async () => {
  const { remote } = await client();
  const { elsewhere, ...rest } = request("gpu", {});
  const placement = new Placement("gpu");
  const asked: string[] = [];
  placement.beforehand = () => (asked.push("once") === 1 ? "gpu" : "edge");
  placement.choose = () => "edge";
  const both: StepEngine = {
    async open(spec, signal, ahead) {
      const session = await remote.open(spec, signal, ahead);
      ahead?.({ roundTripMs: null, costs: null });
      return session;
    },
  };
  const { tokens, places } = await all(decode(both, { ...rest, elsewhere: { ...elsewhere!, placement } }));
  expect(tokens).toEqual(TEXT);
  expect(asked).toHaveLength(2);
  expect(places).toEqual(["gpu", "edge"]);
});

test.each(["gpu", "auto"] as const)("%s: an engine that cannot draft leaves it to the edge", async (mode) => {
  let asked = 0;
  const lacking: Drafts = {
    ...DRAFTING,
    rescorer: async () => {
      asked++;
      throw new StepError("unsupported", "no such pack");
    },
  };
  const { remote, sent } = await client(lacking);
  const far = { ...request(mode, {}) };
  const placement = new Placement(mode, mode === "auto");
  const { tokens, places } = await all(decode(remote, { ...far, elsewhere: { ...far.elsewhere!, placement } }));
  expect(tokens).toEqual(TEXT);
  expect(places).toEqual(["edge"]);
  expect(asked).toBe(1);
  expect(sent.filter((type) => type === "run")).toHaveLength(1);
});
