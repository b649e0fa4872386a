import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { type DistantEdge, type Stack, startStack } from "../../scripts/stack.ts";
import { PLACEMENTS, type PlacementMode } from "../../shared/decode/placement.ts";

/** Two gpu-workers and edges near and far, as `npm start -- --workers 2 --rtt 30` and the bench have them. */

const RTT_MS = 30;

let assetsDir: string;
let stack: Stack;
let far: DistantEdge;
beforeAll(async () => {
  assetsDir = await mkdtemp(join(tmpdir(), "foredraft-distance-"));
  const rateLimit = { limit: 100_000, period: 60 } as const;
  const bundleDir = await ensureBundle("tiny");
  stack = await startStack({ bundle: "tiny", bundleDir, assetsDir, workers: 2, threads: 1, rateLimit, signal: still });
  far = await stack.edgeAt(RTT_MS);
});
afterAll(async () => {
  await stack?.close();
  await rm(assetsDir, { recursive: true, force: true });
});

const still = new AbortController().signal;

interface Answer extends OpenAI.ChatCompletion {
  readonly metrics: {
    readonly placement: { readonly chosen: string; readonly round_trip_ms: number; readonly steps: object };
  };
}

async function ask(url: string, placement: PlacementMode, drafts: object = {}): Promise<Answer> {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
  const body = { model: "tiny", messages: [{ role: "user" as const, content: "Once upon a time" }], max_tokens: 48 };
  const asked = { ...body, temperature: 0, speculation: { placement, ...drafts } };
  return (await client.chat.completions.create(asked)) as Answer;
}

test("the text is the same at any distance, whoever drafts, and auto drafts beside a model that is far away", async () => {
  const near = await ask(stack.edge.url, "edge");
  expect(near.metrics.placement.chosen).toBe("edge");
  for (const placement of PLACEMENTS) {
    const { choices, metrics } = await ask(far.url, placement);
    expect(choices).toEqual(near.choices);
    expect(metrics.placement.chosen).toBe(placement === "edge" ? "edge" : "gpu");
    // Timers may be early by one tick each way.
    expect(metrics.placement.round_trip_ms).toBeGreaterThan(RTT_MS - 3);
  }
});

test("once the edge has heard of a gpu-worker, auto leaves it all there from the first token on", async () => {
  // Whichever of the two is asked, it has been heard of then.
  for (let i = 0; i < 4; i++) await ask(far.url, "auto");
  expect((await ask(far.url, "auto")).metrics.placement.steps).toMatchObject({ edge: 0 });
});

test("blocks take fewer bytes in the wire than steps and their answers", async () => {
  const passed = () => far.wires.reduce((sum, { bytes }) => sum + bytes, 0);
  const bytesOf = async (placement: PlacementMode) => {
    const before = passed();
    // As many nodes a step however busy the machine is.
    await ask(far.url, placement, { max_nodes: 8 });
    return passed() - before;
  };
  expect(await bytesOf("gpu")).toBeLessThan((await bytesOf("edge")) / 2);
});
