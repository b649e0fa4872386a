import { expect } from "vitest";
import { loadBundle } from "../../gpu-worker/load.ts";
import { type Model, PAGE_TOKENS, type Segment } from "../../gpu-worker/model.ts";
import { ensureBundle } from "../../models/bundle.ts";
import type { DraftTree } from "../../shared/draft-tree.ts";
import type { Precision } from "../../shared/manifest.ts";
import type { Random } from "../helpers/random.ts";

/** The bundle `tiny`, by default in integers, computed by so many threads. */
export async function loadTiny(threads: number, precision: Precision = "int8"): Promise<Model> {
  const bundle = await ensureBundle("tiny", { precision });
  return (await loadBundle(bundle, { threads, kvLimitBytes: 16 << 20 })).model;
}

export function randomText(random: Random, length: number): number[] {
  return Array.from({ length }, () => random.int(3, 2000));
}

/** Page tables for sessions of one model: pages from everywhere in no order, none twice. */
export class Tables {
  readonly #free: number[];
  readonly #random: Random;

  constructor(model: Model, random: Random) {
    this.#free = Array.from({ length: model.pages }, (_, page) => page);
    this.#random = random;
  }

  /** A table for `tokens` tokens. */
  take(tokens: number): Int32Array {
    return Int32Array.from({ length: Math.ceil(tokens / PAGE_TOKENS) }, () => {
      const [page] = this.#free.splice(this.#random.int(0, this.#free.length - 1), 1);
      return page!;
    });
  }
}

/** Rows of a text after its first `length` tokens. */
export function piece(
  pages: Int32Array,
  length: number,
  tokens: readonly number[],
  wanted: Segment["wanted"],
): Segment {
  return { length, pages, tokens: Uint32Array.from(tokens), parents: null, wanted, logits: true };
}

/** The root after `length` tokens, then the draft's nodes. */
export function step(pages: Int32Array, length: number, root: number, draft: DraftTree): Segment {
  const parents = Int16Array.of(-1, ...draft.parents.map((parent) => parent + 1));
  return { length, pages, tokens: Uint32Array.of(root, ...draft.tokens), parents, wanted: "all", logits: true };
}

/** What the model says after one row. */
export interface Said {
  readonly argmax: number;
  /** null: not asked for. */
  readonly logits: Float32Array | null;
}

/** One pass: what the model says after each wanted row. */
export async function pass(model: Model, segments: readonly Segment[]): Promise<Said[]> {
  const { argmax, logits } = await model.forward(segments);
  const asked = segments.flatMap((segment) => {
    const rows = segment.wanted === "all" ? segment.tokens.length : Number(segment.wanted === "last");
    return new Array<boolean>(rows).fill(segment.logits);
  });
  expect(argmax).toHaveLength(asked.length);
  return asked.map((all, row) => ({ argmax: argmax[row]!, logits: all ? logits(row) : null }));
}

/** What the model says after each token of `text`, all of it run alone and as far as possible at once. */
export async function readAlone(model: Model, text: readonly number[], pages: Int32Array): Promise<Said[]> {
  const said: Said[] = [];
  for (let at = 0; at < text.length; at += model.maxRows) {
    said.push(...(await pass(model, [piece(pages, at, text.slice(at, at + model.maxRows), "all")])));
  }
  return said;
}

/** To the last bit, as far as it was asked for. */
export function expectSame(actual: Said, expected: Said, what: string): void {
  expect(actual.argmax, what).toBe(expected.argmax);
  if (actual.logits === null) return;
  expect(Buffer.compare(bytesOf(actual.logits), bytesOf(expected.logits!)), what).toBe(0);
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
