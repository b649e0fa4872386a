import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";
import { readPackHeader } from "../../shared/ngram/format.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { toyModel } from "../ngram/helpers.ts";
import { frames, type Service, startService } from "./service.ts";

/**
 * One tenant tries to read another's text out of everything it sees of its own requests: what is drafted and accepted,
 * the sizes of the blocks that arrive, and time, which is counted here in passes of the model and rows that ran in them.
 */

let service: Service;
afterEach(() => service?.close());

const sha256 = (key: string) => createHash("sha256").update(key).digest("hex");
const SECRET = "Once upon a time there was a little dog that lived by the sea.";
/** What the attacker asks: the beginning of the secret, more of it, all of it, and something else. */
const GUESSES = [SECRET.slice(0, 16), SECRET.slice(0, 40), SECRET, "The password of the dog"];
const { tokenizerHash, vocabSize } = readPackHeader(
  new Uint8Array(readFileSync(join(ROOT, "models/tiny/packs/general.fdlm"))),
);
const PACK = writePack(toyModel({ seed: 3, order: 3, vocabSize, documents: 20, length: 200 }).table, tokenizerHash);

async function start(): Promise<void> {
  service = await startService({ engine: "tiny", vars: { API_KEYS: ["ann", "bob"].map(sha256).join() } });
}

const as = (key: string) => ({ authorization: `Bearer ${key}` });

/** Passes of the gpu-worker's model so far, and rows in all of them. */
async function work(): Promise<readonly [passes: number, rows: number]> {
  const text = await (await fetch(`${service.gpuWorker.url}/metrics`, { headers: as(service.gpuKey) })).text();
  const value = (name: string) => Number(new RegExp(`^${name}(?:\\{\\})? (\\S+)$`, "m").exec(text)?.[1]);
  return [value("foredraft_iteration_tokens_total_count"), value("foredraft_iteration_tokens_total_sum")];
}

interface Chunk {
  readonly choices?: readonly { readonly text: string }[];
  readonly usage?: object | null;
  readonly speculation?: { readonly drafted: object };
  readonly metrics?: { readonly speculative_decoding: object; readonly placement: { readonly steps: object } };
}

/** Everything that one request shows to whoever made it, but the clock. */
async function look(key: string, prompt: string, placement: string, model?: string) {
  const before = await work();
  const rescorer = { type: "tree", prompt: true, memory: true, ...(model === undefined ? {} : { model }) };
  const body = {
    model: "tiny",
    prompt,
    max_tokens: 32,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
    speculation: { max_nodes: 24, trace: true, placement, rescorer },
  };
  const headers = { "content-type": "application/json", ...as(key) };
  const response = await service.post("/v1/completions", body, { headers });
  expect(response.status).toBe(200);
  const chunks: Chunk[] = [];
  for await (const frame of frames(response)) {
    if (frame.startsWith("data: {")) chunks.push(JSON.parse(frame.slice("data: ".length)) as Chunk);
  }
  const after = await work();
  const last = chunks.find(({ metrics }) => metrics !== undefined)?.metrics;
  return {
    blocks: chunks.flatMap(({ choices = [] }) => choices.map(({ text }) => text)),
    drafts: chunks.flatMap(({ speculation }) => (speculation === undefined ? [] : [speculation.drafted])),
    usage: chunks.flatMap(({ usage }) => usage ?? []),
    acceptance: last?.speculative_decoding,
    placed: last?.placement.steps,
    passes: after[0] - before[0],
    rows: after[1] - before[1],
  };
}

/** All guesses, each before the attacker has a memory of its own that might help. */
async function attack(key: string, model?: string) {
  const seen = [];
  for (const placement of ["edge", "gpu"]) {
    for (const guess of GUESSES) {
      seen.push(await look(key, guess, placement, model));
      await fetch(`${service.url}/v1/memory`, { method: "DELETE", headers: as(key) });
    }
  }
  return seen;
}

async function upload(key: string): Promise<void> {
  const body = new Uint8Array(PACK);
  const put = await fetch(`${service.url}/v1/packs/own`, { method: "PUT", headers: as(key), body });
  expect(put.status).toBe(200);
}

test("nothing of a tenant's texts or packs shows in another's blocks, drafts, or passes of the model", async () => {
  await start();
  const alone = await attack("bob");
  await service.close();

  await start();
  await upload("ann");
  for (const placement of ["edge", "gpu", "edge"]) await look("ann", SECRET, placement, "own");
  expect(await attack("bob")).toEqual(alone);

  // It would show: to the tenant itself it does, in every one of these.
  const own = await look("ann", SECRET, "edge");
  const foreign = alone[GUESSES.indexOf(SECRET)]!;
  expect(own.blocks.join("")).toBe(foreign.blocks.join(""));
  for (const seen of ["blocks", "drafts", "acceptance", "passes", "rows"] as const) {
    expect(own[seen], seen).not.toEqual(foreign[seen]);
  }
});
