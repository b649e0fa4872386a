import { expect, vi } from "vitest";
import type { SessionEngine } from "../../../gpu-worker/engine/engine.ts";
import { chain } from "../../../shared/draft-tree.ts";
import type { OpenSpec } from "../../../shared/engine.ts";
import { Random } from "../../helpers/random.ts";
import { randomTree } from "../../helpers/trees.ts";
import { TOY_SPEC, type ToyEngine, toyText } from "../toy-model.ts";

export const never = new AbortController().signal;

/** Holds every pass until `release` lets one go. */
export function gate(toy: ToyEngine) {
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
export async function decode(
  engine: SessionEngine,
  spec: Partial<OpenSpec>,
  count: number,
  seed = 1,
): Promise<number[]> {
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

export function promptOf(random: Random, length: number): Uint32Array {
  return Uint32Array.from({ length }, () => random.int(0, 15));
}
