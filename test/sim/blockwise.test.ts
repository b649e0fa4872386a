import { describe, expect, test } from "vitest";
import { type DecodeRequest, decode, type StepEvent } from "../../edge/decode/run.ts";
import { Transcript } from "../../edge/text/transcript.ts";
import { depths, treeFault } from "../../shared/draft-tree.ts";
import { StepError } from "../../shared/errors.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer, type RescorerSpec } from "../../shared/rescore/index.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { Random } from "../helpers/random.ts";
import { HASH, toyModel } from "../ngram/helpers.ts";
import { plainText, randomToyModel, type ToyModel, toyEngine } from "./toy.ts";

/** One random setting of everything a request can choose. */
interface Scene {
  readonly model: ToyModel;
  readonly prompt: readonly number[];
  readonly eos: readonly number[];
  readonly maxTokens: number;
  readonly request: Omit<DecodeRequest, "signal">;
}

const packs = new Map<number, NgramModel>();

/** Training is slow, so scenes with one vocabulary share a language model. */
function packFor(vocabSize: number): NgramModel {
  const kept = packs.get(vocabSize);
  if (kept !== undefined) return kept;
  const { table } = toyModel({ seed: vocabSize, order: 3, vocabSize, documents: 3, length: 60 });
  const pack = loadPack(writePack(table, HASH));
  packs.set(vocabSize, pack);
  return pack;
}

function randomRescorer(random: Random): RescorerSpec {
  if (random.chance(0.25)) return { type: "none" };
  const alpha = random.pick([0, 1, random.unit()]);
  return { type: "ngram", order: random.int(2, 4), alpha, pBest: random.int(1, 16) };
}

function randomScene(seed: number): Scene {
  const random = new Random(seed);
  const model = randomToyModel(random);
  const prompt = Array.from({ length: random.int(1, 8) }, () => random.int(0, model.vocabSize - 1));
  const eos = random.chance(0.5) ? [random.int(0, model.vocabSize - 1)] : [];
  const maxTokens = random.int(1, 60);
  const request = {
    spec: {
      model: "toy",
      prompt: Uint32Array.from(prompt),
      heads: random.int(0, model.heads),
      topK: random.int(1, model.topK),
      sampling: { temperature: 0, topP: 1, seed: 0 },
      logProbs: null,
    },
    limits: { maxTokens, eosTokens: eos },
    rescorer: createRescorer(randomRescorer(random), packFor(model.vocabSize)),
    maxNodes: random.pick([0, 1, 2, 8, 63, random.int(0, 63)]),
    autoNodes: random.chance(0.4),
    tokenizerHash: null,
    now: () => 0,
  };
  return { model, prompt, eos, maxTokens, request };
}

const NEVER = new AbortController().signal;

async function collect(events: AsyncIterable<StepEvent>): Promise<{ events: StepEvent[]; error: unknown }> {
  const out: StepEvent[] = [];
  try {
    for await (const event of events) out.push(event);
    return { events: out, error: null };
  } catch (error) {
    return { events: out, error };
  }
}

const tokensOf = (events: readonly StepEvent[]) => events.flatMap((e) => e.committed.map(({ token }) => token));

const SEEDS = Array.from({ length: 400 }, (_, i) => i + 1);

describe("blockwise decoding", () => {
  test("commits what plain greedy decoding does, whatever is drafted", async () => {
    let accepted = 0;
    for (const seed of SEEDS) {
      const scene = randomScene(seed);
      const engine = toyEngine(scene.model);
      const { events, error } = await collect(decode(engine, { ...scene.request, signal: NEVER }));
      expect(error, `seed ${seed}`).toBeNull();
      const plain = plainText(scene.model, scene.prompt, scene.maxTokens, scene.eos);
      expect(tokensOf(events), `seed ${seed}`).toEqual(plain);
      expect(events.at(-1)!.finish).toBe(scene.eos.includes(plain.at(-1)!) ? "stop" : "length");
      expect(events.slice(0, -1).every(({ finish }) => finish === null)).toBe(true);
      expect(events.every(({ committed }) => committed.length > 0)).toBe(true);
      expect(engine.openSessions).toBe(0);
      accepted += plain.length - events.length;
    }
    // The property would hold for a drafter that never drafts, too.
    expect(accepted).toBeGreaterThan(500);
  });

  test("drafts only well-formed trees within the request's bounds", async () => {
    for (const seed of SEEDS) {
      const { model, request } = randomScene(seed);
      const onDraft = (draft: Parameters<typeof treeFault>[0]) => {
        expect(treeFault(draft, model.vocabSize), `seed ${seed}`).toBeNull();
        expect(draft.tokens.length).toBeLessThanOrEqual(request.maxNodes);
        expect(Math.max(0, ...depths(draft))).toBeLessThanOrEqual(request.spec.heads);
      };
      const { error } = await collect(decode(toyEngine(model, { onDraft }), { ...request, signal: NEVER }));
      expect(error, `seed ${seed}`).toBeNull();
    }
  });

  test("ends a text at the same stop string as plain decoding, and shows the same of it", async () => {
    for (const seed of SEEDS) {
      const { model, request } = randomScene(seed);
      const random = new Random(seed + 1_000_000);
      const letters = (length: number) => String.fromCharCode(...Array.from({ length }, () => 97 + random.int(0, 3)));
      const stops = Array.from({ length: random.int(0, 3) }, () => letters(random.int(1, 3)));
      const show = async (heads: number) => {
        const transcript = new Transcript(lettersTable(model.vocabSize), stops);
        const spec = { ...request.spec, heads };
        let text = "";
        for await (const event of decode(toyEngine(model), { ...request, spec, signal: NEVER })) {
          const step = transcript.push(event);
          text += step.text;
          if (step.finish !== null) return { text, finish: step.finish };
        }
        return { text, finish: null };
      };
      expect(await show(request.spec.heads), `seed ${seed}`).toEqual(await show(0));
    }
  });
});

/** Short texts over few letters, one to three to a token, so that stop strings begin inside tokens and blocks. */
function lettersTable(size: number) {
  const text = (token: number) => "abcd".repeat(2).slice(token % 4, (token % 4) + 1 + (token % 3));
  return { size, hidden: () => false, bytes: (token: number) => new TextEncoder().encode(text(token)) };
}

describe("an engine at fault", () => {
  test("that is slow and uneven changes no token", async () => {
    for (const seed of SEEDS.slice(0, 100)) {
      const { model, prompt, maxTokens, eos, request } = randomScene(seed);
      const random = new Random(seed);
      const before = async () => {
        for (let ticks = random.int(0, 5); ticks > 0; ticks--) await Promise.resolve();
      };
      const { events } = await collect(decode(toyEngine(model, { before }), { ...request, signal: NEVER }));
      expect(tokensOf(events), `seed ${seed}`).toEqual(plainText(model, prompt, maxTokens, eos));
    }
  });

  test("ends the text early with its error, after a true beginning of the plain text, and keeps no session", async () => {
    let failures = 0;
    for (const seed of SEEDS.slice(0, 200)) {
      const { model, prompt, maxTokens, eos, request } = randomScene(seed);
      const dies = new Random(seed).int(0, 6);
      const before = async (call: number) => {
        if (call === dies) throw new StepError("engine_failed", "died");
      };
      const engine = toyEngine(model, { before });
      const { events, error } = await collect(decode(engine, { ...request, signal: NEVER }));
      const plain = plainText(model, prompt, maxTokens, eos);
      const committed = tokensOf(events);
      expect(committed, `seed ${seed}`).toEqual(plain.slice(0, committed.length));
      expect(events.length).toBeLessThanOrEqual(dies);
      if (error === null) expect(committed).toEqual(plain);
      else expect(error).toMatchObject({ code: "engine_failed" });
      expect(engine.openSessions).toBe(0);
      failures += error === null ? 0 : 1;
    }
    expect(failures).toBeGreaterThan(50);
  });

  test("that accepts nodes which are no path of the draft is refused", async () => {
    const { model, request } = randomScene(7);
    const honest = toyEngine(model);
    const lying = {
      async open(...args: Parameters<typeof honest.open>) {
        const session = await honest.open(...args);
        return { ...session, step: async () => ({ ...session.opened, accepted: [5] }) };
      },
    };
    const limits = { maxTokens: 50, eosTokens: [] };
    const { error } = await collect(decode(lying, { ...request, limits, maxNodes: 2, signal: NEVER }));
    expect(error).toMatchObject({ code: "engine_failed" });
  });
});

test("a cancelled completion stops within one step and keeps no session", async () => {
  for (const seed of SEEDS.slice(0, 100)) {
    const { model, request } = randomScene(seed);
    const cancel = new AbortController();
    const last = new Random(seed).int(0, 4);
    let calls = 0;
    const before = async (call: number) => {
      calls++;
      if (call === last) cancel.abort();
    };
    const engine = toyEngine(model, { before });
    const { error } = await collect(decode(engine, { ...request, signal: cancel.signal }));
    if (cancel.signal.aborted) expect(error, `seed ${seed}`).toMatchObject({ code: "client_closed" });
    expect(calls).toBeLessThanOrEqual(last + 1);
    expect(engine.openSessions).toBe(0);
  }
});

test("a reader that leaves in the middle ends the session", async () => {
  for (const seed of SEEDS.slice(0, 50)) {
    const { model, request } = randomScene(seed);
    const engine = toyEngine(model);
    for await (const event of decode(engine, { ...request, signal: NEVER })) if (event.index === 1) break;
    expect(engine.openSessions).toBe(0);
  }
});
