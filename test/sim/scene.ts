import type { DecodeRequest } from "../../shared/decode/run.ts";
import { type DraftTree, treeOf } from "../../shared/draft-tree.ts";
import type { Sampling, StepEngine, StepResult } from "../../shared/engine.ts";
import { EMPTY_LATTICE } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer, type RescorerSpec } from "../../shared/rescore/index.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { createFakeEngine, type FakeEngine, type FakeOptions } from "../fakes/fake-engine.ts";
import { Random } from "../helpers/random.ts";
import { HASH, toyModel } from "../ngram/helpers.ts";
import { randomCalibration } from "../rescore/helpers.ts";

export interface Scene extends RandomRequest {
  readonly engine: FakeEngine;
}

/** One random setting of everything a request can choose, of one toy model. */
export interface RandomRequest {
  readonly prompt: readonly number[];
  /** Whether drafts may go on beyond the heads. */
  readonly copies: boolean;
  /** How the rescorer is told to another program. */
  readonly rescorer: RescorerSpec;
  /** `signal` is the test's own. */
  readonly request: Omit<DecodeRequest, "signal">;
  /** What plain decoding, one token after the other, makes of it. */
  readonly plain: readonly number[];
}

export function randomScene(seed: number): Scene {
  const random = new Random(seed);
  const engine = createFakeEngine(randomModel(random, seed));
  return { engine, ...randomRequest(random, engine) };
}

export function randomModel(random: Random, seed: number): FakeOptions {
  const vocabSize = random.int(2, 40);
  const bundle = { vocabSize, latticeHeads: random.int(0, 8), topK: Math.min(vocabSize - 1, random.int(1, 16)) };
  const skill = random.unit();
  return { bundle, seed, memory: random.int(1, 3), skill, ranks: random.int(1, bundle.topK) };
}

export function randomRequest(random: Random, engine: FakeEngine): RandomRequest {
  const { vocabSize, ...bundle } = engine.bundle;
  const prompt = Array.from({ length: random.int(1, 8) }, () => random.int(0, vocabSize - 1));
  const eosTokens = random.chance(0.5) ? [random.int(0, vocabSize - 1)] : [];
  const limits = { maxTokens: random.int(1, 60), eosTokens };
  const sampling = {
    temperature: random.pick([0, 0, 1, 2 * random.unit()]),
    topP: random.pick([1, 0.5 + random.unit() / 2]),
    seed: random.int(0, 1000),
  };
  const heads = random.int(0, bundle.latticeHeads);
  const topK = random.int(1, bundle.topK);
  const rescorer = randomRescorer(random);
  const neural = random.pick([null, 0, 1, random.unit()]);
  const { model } = engine.bundle;
  const calibration = randomCalibration(() => random.unit());
  const maxNodes = random.pick([0, 1, 2, 8, 63, random.int(0, 63)]);
  const autoNodes = random.chance(0.4);
  const fixed = !autoNodes;
  const spec = { model, prompt: Uint32Array.from(prompt), heads, topK, sampling, logProbs: null, neural, fixed };
  const drafting = createRescorer(rescorer, packFor(vocabSize), calibration);
  // Earlier texts of the same tenant: some of them like this one, and some not.
  const earlier = Array.from({ length: random.pick([0, 0, 1, 5]) }, () =>
    Array.from({ length: random.int(0, 80) }, () => random.int(0, vocabSize - 1)),
  );
  drafting.recall?.([...earlier, ...(random.chance(0.2) ? [plainTokens(engine, prompt, { limits }, sampling)] : [])]);
  const request = {
    spec: { ...spec, tenant: "" },
    limits,
    rescorer: drafting,
    maxNodes,
    autoNodes,
    tokenizerHash: engine.bundle.tokenizerHash,
    elsewhere: null,
    now: () => 0,
  };
  const copies = "prompt" in rescorer && rescorer.prompt === true;
  return { prompt, copies, rescorer, request, plain: plainTokens(engine, prompt, request, sampling) };
}

/** Through the token that ends the text, or up to the limit. */
function plainTokens(
  engine: FakeEngine,
  prompt: readonly number[],
  { limits }: Pick<DecodeRequest, "limits">,
  sampling: Sampling,
): number[] {
  const out: number[] = [];
  while (out.length < limits.maxTokens) {
    const token = engine.next([...prompt, ...out], sampling);
    out.push(token);
    if (limits.eosTokens.includes(token)) break;
  }
  return out;
}

function randomRescorer(random: Random): RescorerSpec {
  const type = random.pick(["none", "ngram", "ngram", "path", "tree", "tree"] as const);
  if (type === "none") return { type };
  const alpha = random.pick([0, 1, random.unit()]);
  const order = random.int(2, 4);
  const prompt = random.chance(0.5);
  return type === "tree" ? { type, order, alpha, prompt } : { type, order, alpha, prompt, pBest: random.int(1, 16) };
}

const packs = new Map<number, NgramModel>();

/** Scenes with one vocabulary share a language model. */
export function packFor(vocabSize: number): NgramModel {
  const kept = packs.get(vocabSize);
  if (kept !== undefined) return kept;
  const { table } = toyModel({ seed: vocabSize, order: 3, vocabSize, documents: 3, length: 60 });
  const pack = loadPack(writePack(table, HASH));
  packs.set(vocabSize, pack);
  return pack;
}

/** The same engine with `before` awaited ahead of every call (0 is the prefill); it sees the draft and may throw. */
export function watched(
  engine: StepEngine,
  before: (call: number, draft: DraftTree | null) => Promise<void>,
): StepEngine {
  return {
    async open(spec, signal) {
      await before(0, null);
      const session = await engine.open(spec, signal);
      return {
        bundle: session.bundle,
        cachedTokens: session.cachedTokens,
        opened: session.opened,
        async step(index, draft, stepSignal) {
          await before(index + 1, draft);
          return session.step(index, draft, stepSignal);
        },
        close: () => session.close(),
      };
    },
  };
}

/** What an engine leaves out of a step: nodes below `threshold`, in 255ths, and the lattice. */
export interface Saving {
  readonly threshold: number;
  readonly lattice: boolean;
}

/** The same engine where time is short: unless drafts are fixed, each call (0 is the prefill) leaves out what `saves` says. */
export function thrifty(engine: StepEngine, saves: (call: number) => Saving): StepEngine {
  return {
    async open(spec, signal) {
      if (spec.fixed) return engine.open(spec, signal);
      const session = await engine.open(spec, signal);
      const saved = (result: StepResult, { threshold, lattice }: Saving): StepResult => ({
        ...result,
        threshold,
        lattice: lattice ? EMPTY_LATTICE : result.lattice,
      });
      return {
        bundle: session.bundle,
        cachedTokens: session.cachedTokens,
        opened: saved(session.opened, saves(0)),
        async step(index, draft, stepSignal) {
          const saving = saves(index + 1);
          const kept = [...draft.tokens.keys()].filter((node) => draft.chances[node]! >= saving.threshold);
          const rest = treeOf(
            kept.map((node) => draft.tokens[node]!),
            kept.map((node) => kept.indexOf(draft.parents[node]!)),
          );
          const result = await session.step(index, rest, stepSignal);
          return saved({ ...result, accepted: result.accepted.map((node) => kept[node]!) }, saving);
        },
        close: () => session.close(),
      };
    },
  };
}
