import { describe, expect, test, vi } from "vitest";
import { chain, EMPTY_TREE } from "../../../shared/draft-tree.ts";
import { Random } from "../../helpers/random.ts";
import { TOY_SPEC, toyEngine, toyText } from "../toy-model.ts";
import { decode, gate, never, promptOf } from "./toy-decoding.ts";

/** What sessions share of the cache, and how they get along where it is too small for all of them. */

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

  test("are found by who waited while they were computed, and told", async () => {
    const { engine, toy } = toyEngine();
    const { reached, open } = gate(toy);
    // One pass of it.
    const short = prompt.subarray(0, 60);
    const first = engine.open({ ...TOY_SPEC, prompt: short }, never);
    await reached();
    const second = engine.open({ ...TOY_SPEC, prompt: Uint32Array.of(...short, 3) }, never);
    open();
    expect([(await first).cachedTokens, (await second).cachedTokens]).toEqual([0, 48]);
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
