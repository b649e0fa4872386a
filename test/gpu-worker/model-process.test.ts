import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { SessionEngine } from "../../gpu-worker/engine/engine.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ModelProcess, type ModelProcessOptions } from "../../gpu-worker/process/model-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { chain, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { OpenSpec, StepEngine, StepSession } from "../../shared/engine.ts";
import { codeOf, GREEDY, never, SAMPLED } from "../contract/probe.ts";
import { childrenOf, modelsOf } from "../helpers/processes.ts";
import { Random } from "../helpers/random.ts";

/** Real processes with a real model, and what may become of them. */

// Processes take their time to start where others keep the cores busy.
vi.setConfig({ testTimeout: 120_000 });

const SMALL = { threads: 1, kvLimitBytes: 16 << 20 };
const TOKENS = 40;

let bundle: string;
let texts: number[][];
let before: readonly number[];
const engines: SessionEngine[] = [];

beforeAll(async () => {
  bundle = await ensureBundle("tiny");
  const engine = await createInProcessEngine(bundle, SMALL);
  texts = await Promise.all(SPECS.map((spec) => decode(engine, spec)));
  await engine.close();
});
beforeEach(async () => {
  before = await childrenOf(process.pid);
});
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
  expect((await childrenOf(process.pid)).filter((pid) => !before.includes(pid))).toEqual([]);
});

/** Models' processes that a test has started and that have not ended. */
async function started(): Promise<number[]> {
  return (await modelsOf(process.pid)).filter((pid) => !before.includes(pid));
}

async function start(options: ModelProcessOptions = {}, dir = bundle) {
  const restarts: string[] = [];
  const givenUp: string[] = [];
  const model = await ModelProcess.start(dir, {
    ...SMALL,
    onRestart: (reason) => restarts.push(reason),
    onGivenUp: (reason) => givenUp.push(reason),
    ...options,
  });
  const lost = vi.fn();
  const engine = new SessionEngine(model, { events: { lost } });
  engines.push(engine);
  return { model, engine, restarts, givenUp, lost };
}

function specOf(seed: number): OpenSpec {
  const random = new Random(seed);
  const prompt = Uint32Array.from({ length: random.int(3, 60) }, () => random.int(3, 2000));
  const sampling = seed % 2 === 0 ? GREEDY : { ...SAMPLED, seed };
  const plain = { logProbs: null, neural: seed % 3 === 0 ? 0.5 : null, fixed: false, tenant: "" };
  return { model: "tiny", prompt, heads: 4, topK: 4, sampling, ...plain };
}
const SPECS = [1, 2, 3, 4].map(specOf);

/** Decodes TOKENS tokens, drafting the lattice's best path; `onStep` is told of each step. */
async function decode(engine: StepEngine, spec: OpenSpec, onStep: (steps: number) => void = () => undefined) {
  const session = await engine.open(spec, never);
  const tokens = [session.opened.bonus];
  let last = session.opened;
  for (let index = 0; tokens.length < TOKENS; index++) {
    onStep(index);
    const { heads, k, tokens: candidates } = last.lattice;
    const draft = chain(Array.from({ length: heads }, (_, row) => candidates[row * k]!));
    last = await session.step(index, draft, never);
    tokens.push(...last.accepted.map((node) => draft.tokens[node]!), last.bonus);
  }
  session.close();
  return tokens.slice(0, TOKENS);
}

/** All texts side by side; `meanwhile` is called now and then as they grow. */
function decodeAll(engine: StepEngine, meanwhile: (steps: number) => void): Promise<number[][]> {
  let steps = 0;
  return Promise.all(SPECS.map((spec) => decode(engine, spec, () => meanwhile(steps++))));
}

const isGone = (pid: number) => vi.waitFor(async () => expect(await started()).not.toContain(pid));

describe("a model's process that ends", () => {
  test("while sessions decode is a pause; their texts go on as they would have", async () => {
    const { model, engine, restarts, lost } = await start();
    const pids = new Set<number>();
    const decoded = await decodeAll(engine, (steps) => {
      if (steps % 25 !== 10) return;
      pids.add(model.pid!);
      process.kill(model.pid!, "SIGKILL");
    });
    expect(decoded).toEqual(texts);
    expect(pids.size).toBeGreaterThan(1);
    expect(restarts).toEqual(restarts.map(() => "the model's process ended (SIGKILL)"));
    expect([lost.mock.calls.length, await started()]).toEqual([restarts.length, [model.pid!]]);
    expect(engine.pages.used).toBe(0);
  });

  test("while nobody asks for anything is noticed by the next who does", async () => {
    const { model, engine, restarts } = await start();
    expect(await decode(engine, SPECS[0]!)).toEqual(texts[0]);
    const { pid } = model;
    process.kill(pid!, "SIGKILL");
    await isGone(pid!);
    expect(await decode(engine, SPECS[1]!)).toEqual(texts[1]);
    expect([restarts.length, model.pid === pid]).toEqual([1, false]);
  });

  test("again while it is being started is started again", async () => {
    const kill = () => process.kill(model.pid!, "SIGKILL");
    const reasons: string[] = [];
    const onRestart = (reason: string) => {
      // The first two new processes, as soon as there is one.
      if (reasons.push(reason) <= 2) setImmediate(kill);
    };
    const { model, engine } = await start({ onRestart });
    const decoded = await decodeAll(engine, (steps) => steps === 5 && kill());
    expect(decoded).toEqual(texts);
    expect(reasons).toHaveLength(3);
  });
});

test("a model's process that hangs is ended, and the texts go on", async () => {
  const { model, engine, restarts } = await start({ hangMs: 2_000 });
  const { pid } = model;
  const decoded = await decodeAll(engine, (steps) => steps === 20 && process.kill(pid!, "SIGSTOP"));
  expect(decoded).toEqual(texts);
  expect(restarts).toContain("the model's process does not answer");
  await isGone(pid!);
});

describe("a model that cannot be had", () => {
  let dir: string;
  beforeEach(async () => {
    dir = join(await mkdtemp(join(tmpdir(), "foredraft-process-")), "tiny");
  });
  afterEach(() => rm(join(dir, ".."), { recursive: true, force: true }));

  test("is told in the words of what kept it from loading, and leaves nothing running", async () => {
    await expect(ModelProcess.start(dir, SMALL)).rejects.toThrow(
      /no bundle at .*tiny: compile it with: npm run bundle/,
    );
    expect(await started()).toEqual([]);
    const tooSmall = { ...SMALL, kvLimitBytes: 100 };
    await expect(ModelProcess.start(bundle, tooSmall)).rejects.toThrow("a cache of 100 bytes holds no page");
    expect(await started()).toEqual([]);
  });

  test("any more is given up after some starts: sessions are told, and nothing is left running", async () => {
    await cp(bundle, dir, { recursive: true });
    const { model, engine, restarts, givenUp } = await start({}, dir);
    const session = await engine.open(SPECS[0]!, never);
    await rm(dir, { recursive: true });
    process.kill(model.pid!, "SIGKILL");
    const codes = await Promise.all([
      codeOf(session.step(0, EMPTY_TREE, never)),
      codeOf(engine.open(SPECS[1]!, never)),
    ]);
    expect(codes).toEqual(["engine_unavailable", "engine_unavailable"]);
    const absent = expect.stringMatching(/no bundle at/);
    expect(restarts).toEqual(["the model's process ended (SIGKILL)", absent, absent, absent]);
    expect(givenUp).toEqual([absent]);
    expect([engine.openSessions, engine.pages.used]).toEqual([0, 0]);
    await vi.waitFor(async () => expect(await started()).toEqual([]));
    expect(await codeOf(engine.open(SPECS[0]!, never))).toBe("engine_unavailable");
  });
});

describe("closing leaves nothing running", () => {
  /** Closes in the middle of a pass over a long prompt. */
  const closeAfter = async (ms: number) => {
    const { engine } = await start();
    const prompt = Uint32Array.from({ length: 900 }, (_, i) => 3 + (i % 50));
    const opening = codeOf(engine.open({ ...SPECS[0]!, prompt }, never));
    await sleep(ms);
    await engine.close();
    expect(["client_closed", "no error"]).toContain(await opening);
    expect(await started()).toEqual([]);
  };

  test("with a pass or without one", async () => {
    for (let i = 0; i < 5; i++) await closeAfter(10 * i);
  });

  test("while a process hangs, and does not start another one", async () => {
    const { model, engine, restarts, lost } = await start();
    const sessions: StepSession[] = await Promise.all(SPECS.map((spec) => engine.open(spec, never)));
    process.kill(model.pid!, "SIGSTOP");
    const steps = Promise.all(sessions.map((session) => codeOf(session.step(0, EMPTY_TREE, never))));
    // By then the pass is on its way to the process.
    await sleep(50);
    await engine.close();
    expect(await steps).toEqual(sessions.map(() => "client_closed"));
    await sleep(50);
    expect([await started(), restarts, lost.mock.calls]).toEqual([[], [], []]);
  });

  test.each(["as it begins", "while it loads"])("when a lost one is being replaced, %s", async (moment) => {
    const restarted = Promise.withResolvers<void>();
    const { model, engine } = await start({ onRestart: () => restarted.resolve() });
    const session = await engine.open(SPECS[0]!, never);
    const { pid } = model;
    process.kill(pid!, "SIGKILL");
    const step = codeOf(session.step(0, EMPTY_TREE, never));
    await restarted.promise;
    if (moment === "while it loads") await vi.waitFor(async () => expect(await started()).toEqual([model.pid]));
    await engine.close();
    expect(await step).toBe("client_closed");
    await vi.waitFor(async () => expect(await started()).toEqual([]));
  });
});
