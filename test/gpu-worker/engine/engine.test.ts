import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { SessionEngine } from "../../../gpu-worker/engine/engine.ts";
import { chain, EMPTY_TREE, treeOf } from "../../../shared/draft-tree.ts";
import type { OpenSpec, StepSession } from "../../../shared/engine.ts";
import { Random } from "../../helpers/random.ts";
import { randomTree } from "../../helpers/trees.ts";
import { TOY_SPEC, type ToyEngine, toyEngine, toyText } from "../toy-model.ts";

const never = new AbortController().signal;

/** Holds every pass until `release` lets one go. */
function gate(toy: ToyEngine) {
  const held: (() => void)[] = [];
  toy.model.before = () => new Promise<void>((resolve) => held.push(resolve));
  const reached = () => vi.waitFor(() => expect(held.length).toBeGreaterThan(0));
  const release = async () => {
    await reached();
    held.shift()!();
  };
  const open = () => {
    toy.model.before = async () => undefined;
    for (const go of held) go();
  };
  return { reached, release, open };
}

/** Decodes `count` tokens with random drafts, some of them right. */
async function decode(engine: SessionEngine, spec: Partial<OpenSpec>, count: number, seed = 1): Promise<number[]> {
  const random = new Random(seed);
  const session = await engine.open({ ...TOY_SPEC, ...spec }, never);
  const prompt = [...(spec.prompt ?? TOY_SPEC.prompt)];
  const tokens = [session.opened.bonus];
  for (let index = 0; tokens.length < count; index++) {
    const right = chain(toyText([...prompt, ...tokens], random.int(0, 3)));
    const draft = random.chance(0.5) ? right : randomTree(random, 12, 16);
    const { accepted, bonus } = await session.step(index, draft, never);
    tokens.push(...accepted.map((node) => draft.tokens[node]!), bonus);
  }
  session.close();
  return tokens.slice(0, count);
}

function promptOf(random: Random, length: number): Uint32Array {
  return Uint32Array.from({ length }, () => random.int(0, 15));
}

let complaints: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  complaints = vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  complaints.mockRestore();
});

describe("many sessions", () => {
  test("share passes, and every text is what it is alone", async () => {
    const { engine, toy } = toyEngine();
    const random = new Random(4);
    const prompts = Array.from({ length: 16 }, () => promptOf(random, random.int(1, 20)));
    const texts = await Promise.all(prompts.map((prompt, i) => decode(engine, { prompt }, 30, i)));
    for (const [i, prompt] of prompts.entries()) expect(texts[i]).toEqual(toyText([...prompt], 30));
    const together = toy.model.calls.filter((segments) => segments.length > 8).length;
    expect(together).toBeGreaterThan(toy.model.calls.length / 2);
    expect(engine.pages.used).toBe(0);
    expect(engine.openSessions).toBe(0);
  });

  test("a long prompt comes in pieces between other sessions' steps", async () => {
    const { engine, toy } = toyEngine({ passMs: 15 });
    const other = await engine.open(TOY_SPEC, never);
    const opening = engine.open({ ...TOY_SPEC, prompt: new Uint32Array(300) }, never);
    let steps = 0;
    let opened = false;
    void opening.then(() => {
      opened = true;
    });
    while (!opened) await other.step(steps++, EMPTY_TREE, never);
    expect(steps).toBeGreaterThan(5);
    expect(toy.model.calls.some((segments) => segments.length === 2)).toBe(true);
    expect((await opening).opened.bonus).toBe(toyText(new Array<number>(300).fill(0), 1)[0]);
  });

  test("more of them than allowed are overloaded until one is closed, and told when to come again", async () => {
    const { engine } = toyEngine({ maxSessions: 2 });
    const first = await engine.open(TOY_SPEC, never);
    await engine.open(TOY_SPEC, never);
    await expect(engine.open(TOY_SPEC, never)).rejects.toMatchObject({ code: "overloaded", retryAfterS: 1 });
    first.close();
    await engine.open(TOY_SPEC, never);
    expect(engine.openSessions).toBe(2);
  });

  test("one that waits too long for its first pass is told so; the others do not notice", async () => {
    const { engine, toy } = toyEngine({ maxWaitMs: 20 });
    const { release, open, reached } = gate(toy);
    const first = engine.open(TOY_SPEC, never);
    await reached();
    const second = engine.open({ ...TOY_SPEC, prompt: Uint32Array.of(9) }, never);
    await expect(second).rejects.toMatchObject({ code: "timeout" });
    await release();
    open();
    await (await first).step(0, EMPTY_TREE, never);
    expect(engine.openSessions).toBe(1);
  });
});

describe("what is drafted", () => {
  test("is verified as far as it pays; the threshold says how far, and accepted nodes are those of the draft sent", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open(TOY_SPEC, never);
    const [a, b] = toyText([...TOY_SPEC.prompt, session.opened.bonus], 2);
    const wrong = (a! + 1) % 16;
    // The unlikely first child comes before the right one, and has a child itself.
    const draft = treeOf([wrong, 3, a!, b!], [-1, 0, -1, 2], Uint8Array.of(2, 1, 250, 240));
    const { accepted, threshold } = await session.step(0, draft, never);
    expect(accepted).toEqual([2, 3]);
    expect(threshold).toBeGreaterThan(2);
    expect(toy.model.calls.at(-1)![0]!.tokens).toHaveLength(3);
  });

  test("is verified whole where the caller insists", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open({ ...TOY_SPEC, fixed: true }, never);
    const { threshold } = await session.step(0, treeOf([1, 2], [-1, 0], Uint8Array.of(1, 1)), never);
    expect([threshold, toy.model.calls.at(-1)![0]!.tokens.length]).toEqual([0, 3]);
  });

  test("needs no lattice any more once lattices bring nothing, but is given one now and then", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open({ ...TOY_SPEC, heads: 3, topK: 4 }, never);
    const steps = 200;
    for (let index = 0; index < steps; index++) await session.step(index, EMPTY_TREE, never);
    expect(toy.model.headsCalls.length).toBeLessThan(steps / 2);
    expect(toy.model.headsCalls.length).toBeGreaterThan(steps / 20);
  });

  test("always has its lattice where the caller insists", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open({ ...TOY_SPEC, heads: 3, topK: 4, fixed: true }, never);
    for (let index = 0; index < 100; index++) await session.step(index, EMPTY_TREE, never);
    expect(toy.model.headsCalls.length).toBe(101);
  });
});

describe("prefixes", () => {
  const prompt = Uint32Array.from({ length: 100 }, (_, i) => i % 16);

  test("that were computed before are not computed again, prompts and answers alike", async () => {
    const { engine, toy } = toyEngine();
    const first = await engine.open({ ...TOY_SPEC, prompt }, never);
    expect(first.cachedTokens).toBe(0);
    const answer = [first.opened.bonus];
    for (let index = 0; index < 30; index++) answer.push((await first.step(index, EMPTY_TREE, never)).bonus);
    first.close();
    const next = Uint32Array.of(...prompt, ...answer, 1, 2, 3);
    const second = await engine.open({ ...TOY_SPEC, prompt: next }, never);
    // All full pages of what went through the model: the last token of the answer did not.
    expect(second.cachedTokens).toBe(128);
    expect(toy.model.calls.at(-1)![0]!.tokens).toHaveLength(next.length - 128);
    expect(second.opened.bonus).toBe(toyText([...next], 1)[0]);
  });

  test("are shared while their first session still runs", async () => {
    const { engine } = toyEngine();
    const first = await engine.open({ ...TOY_SPEC, prompt }, never);
    const used = engine.pages.used;
    const second = await engine.open({ ...TOY_SPEC, prompt }, never);
    expect([second.cachedTokens, engine.pages.used]).toEqual([96, used + 1]);
    first.close();
    const rest = await second.step(0, chain(toyText([...prompt, second.opened.bonus], 3)), never);
    expect(rest.accepted).toEqual([0, 1, 2]);
  });

  test("of another tenant are nobody's business", async () => {
    const { engine } = toyEngine();
    (await engine.open({ ...TOY_SPEC, prompt, tenant: "a" }, never)).close();
    expect((await engine.open({ ...TOY_SPEC, prompt, tenant: "b" }, never)).cachedTokens).toBe(0);
    expect((await engine.open({ ...TOY_SPEC, prompt, tenant: "a" }, never)).cachedTokens).toBe(96);
  });

  test("leave the last token to be run, for what follows it", async () => {
    const { engine } = toyEngine();
    const whole = prompt.subarray(0, 96);
    (await engine.open({ ...TOY_SPEC, prompt: whole }, never)).close();
    const again = await engine.open({ ...TOY_SPEC, prompt: whole }, never);
    expect(again.cachedTokens).toBe(80);
    expect(again.opened.bonus).toBe(toyText([...whole], 1)[0]);
  });

  test("make room for sessions when memory is short", async () => {
    const { engine } = toyEngine({}, 8);
    (await engine.open({ ...TOY_SPEC, prompt }, never)).close();
    expect(engine.pages.cached).toBe(6);
    const other = await engine.open({ ...TOY_SPEC, prompt: new Uint32Array(110).fill(5) }, never);
    expect(other.opened.bonus).toBe(toyText(new Array<number>(110).fill(5), 1)[0]);
  });
});

describe("memory too small for all", () => {
  test("sessions take turns, and every text is right", async () => {
    const preempted = vi.fn();
    const { engine } = toyEngine({ events: { preempted } }, 12);
    const random = new Random(9);
    const prompts = Array.from({ length: 10 }, () => promptOf(random, random.int(10, 60)));
    const texts = await Promise.all(prompts.map((prompt, i) => decode(engine, { prompt }, 40, i)));
    for (const [i, prompt] of prompts.entries()) expect(texts[i]).toEqual(toyText([...prompt], 40));
    expect(preempted).toHaveBeenCalled();
    expect(engine.pages.used).toBe(0);
  });

  test("prefixes that several hold are counted once", async () => {
    const { engine } = toyEngine({}, 14);
    const random = new Random(3);
    const prefix = promptOf(random, 70);
    const prompts = Array.from({ length: 12 }, () => Uint32Array.of(...prefix, ...promptOf(random, random.int(1, 40))));
    const texts = await Promise.all(prompts.map((prompt, i) => decode(engine, { prompt }, 40, i)));
    for (const [i, prompt] of prompts.entries()) expect(texts[i]).toEqual(toyText([...prompt], 40));
    expect(engine.pages.used).toBe(0);
  });

  test("a context as large as all of it can be filled to the end", async () => {
    const { engine } = toyEngine({}, 40);
    const session = await engine.open({ ...TOY_SPEC, prompt: new Uint32Array(598) }, never);
    const { bonus } = await session.step(0, EMPTY_TREE, never);
    await expect(session.step(1, chain([bonus]), never)).rejects.toMatchObject({ code: "context_length_exceeded" });
  });
});

describe("a model that is lost", () => {
  test("is a pause: every session goes on, and no text changes", async () => {
    const { engine, toy } = toyEngine();
    const random = new Random(11);
    const prompts = Array.from({ length: 6 }, () => promptOf(random, random.int(5, 40)));
    let passes = 0;
    const survive = async () => {
      if (++passes % 20 === 0) toy.crashNext();
    };
    toy.model.before = survive;
    const restarted = toy.restart.bind(toy);
    toy.restart = async () => {
      await restarted();
      toy.model.before = survive;
    };
    const texts = await Promise.all(prompts.map((prompt, i) => decode(engine, { prompt }, 300, i)));
    expect(toy.restarts).toBeGreaterThan(2);
    for (const [i, prompt] of prompts.entries()) expect(texts[i]).toEqual(toyText([...prompt], 300));
    expect(engine.pages.used).toBe(0);
  });

  test("again and again in passes of one session ends that one alone", async () => {
    const { engine, toy } = toyEngine();
    const good = await engine.open(TOY_SPEC, never);
    const bad = await engine.open({ ...TOY_SPEC, prompt: Uint32Array.of(13, 13) }, never);
    toy.model.before = async () => {
      const poison = toy.model.calls.at(-1)!.some(({ tokens }) => tokens.includes(13));
      if (poison) throw new Error("an inner secret");
    };
    const [one, other] = await Promise.allSettled([good.step(0, EMPTY_TREE, never), bad.step(0, chain([13]), never)]);
    expect(one.status).toBe("fulfilled");
    expect(other).toMatchObject({ status: "rejected", reason: { code: "engine_failed" } });
    expect(String((other as PromiseRejectedResult).reason.message)).not.toContain("secret");
    await good.step(1, EMPTY_TREE, never);
    expect(engine.openSessions).toBe(1);
  });

  test("and does not come back is the end for all", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open(TOY_SPEC, never);
    toy.broken = true;
    toy.crashNext();
    await expect(session.step(0, EMPTY_TREE, never)).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(engine.openSessions).toBe(0);
  });
});

describe("a session", () => {
  test("cancelled in its prefill stops with the pass that runs and gives its memory back", async () => {
    const { engine, toy } = toyEngine({ prefillMs: 12 });
    const { release, reached, open } = gate(toy);
    const controller = new AbortController();
    const opening = engine.open({ ...TOY_SPEC, prompt: new Uint32Array(200) }, controller.signal);
    const rejected = expect(opening).rejects.toMatchObject({ code: "client_closed" });
    await release();
    await reached();
    controller.abort();
    await rejected;
    open();
    await vi.waitFor(() => expect(engine.pages.used).toBe(0));
    expect([engine.openSessions, toy.model.calls.length]).toEqual([0, 2]);
    await engine.open(TOY_SPEC, never);
  });

  test("closed while its pass runs leaves its pages alone until the pass is over", async () => {
    const { engine, toy } = toyEngine({}, 2);
    const session = await engine.open(TOY_SPEC, never);
    const { reached, open } = gate(toy);
    const running = session.step(0, EMPTY_TREE, never);
    await reached();
    session.close();
    await expect(running).rejects.toMatchObject({ code: "client_closed" });
    expect(engine.pages.used).toBe(1);
    open();
    await vi.waitFor(() => expect(engine.pages.used).toBe(0));
  });

  test("refuses a second step while one runs, and is not disturbed", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open(TOY_SPEC, never);
    const { release } = gate(toy);
    const running = session.step(0, EMPTY_TREE, never);
    await expect(session.step(1, EMPTY_TREE, never)).rejects.toMatchObject({ code: "bad_frame" });
    await release();
    await running;
  });

  test("that falls silent makes room, and goes on when it comes back", async () => {
    let now = 0;
    const { engine } = toyEngine({ staleMs: 100, now: () => now }, 4);
    const silent = await engine.open({ ...TOY_SPEC, prompt: new Uint32Array(40) }, never);
    now = 1000;
    const other = await engine.open({ ...TOY_SPEC, prompt: new Uint32Array(40).fill(3) }, never);
    expect(other.opened.bonus).toBe(toyText(new Array<number>(40).fill(3), 1)[0]);
    other.close();
    const zeros = new Array<number>(40).fill(0);
    const next = toyText([...zeros, silent.opened.bonus], 1);
    expect((await silent.step(0, EMPTY_TREE, never)).bonus).toBe(next[0]);
  });
});

test("closing the engine closes every session", async () => {
  const { engine } = toyEngine();
  const session = await engine.open(TOY_SPEC, never);
  await engine.close();
  await expect(session.step(0, EMPTY_TREE, never)).rejects.toMatchObject({ code: "client_closed" });
  await expect(engine.open(TOY_SPEC, never)).rejects.toMatchObject({ code: "engine_unavailable" });
});

test("a thousand sessions leave nothing behind", async () => {
  const { engine } = toyEngine();
  const random = new Random(21);
  const open = new Set<StepSession>();
  for (let i = 0; i < 1000; i++) {
    const controller = new AbortController();
    const opening = engine.open({ ...TOY_SPEC, prompt: promptOf(random, random.int(1, 50)) }, controller.signal);
    if (random.chance(0.3)) controller.abort();
    const session = await opening.catch(() => null);
    if (session !== null) open.add(session);
    for (const one of open) if (random.chance(0.5)) open.delete(one) && one.close();
  }
  for (const one of open) one.close();
  expect([engine.openSessions, engine.pages.used, engine.load.running, engine.load.waiting]).toEqual([0, 0, 0, 0]);
});

test("time is told apart: waiting, and the passes it took part in", async () => {
  let now = 0;
  const { engine, toy } = toyEngine({ now: () => now });
  const session = await engine.open(TOY_SPEC, never);
  toy.model.before = async () => {
    now += 7;
  };
  const { timing } = await session.step(0, EMPTY_TREE, never);
  expect(timing).toEqual({ queueMs: 0, modelMs: 7, engineMs: 0 });
});
