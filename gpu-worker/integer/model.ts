import { once } from "node:events";
import { open } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { assert } from "../../shared/assert.ts";
import { Rotation } from "../../shared/rotation.ts";
import { type Forward, type HeadsOutput, type Model, type ModelShape, PAGE_TOKENS, type Segment } from "../model.ts";
import type { HeadsGraph } from "../onnx/heads.ts";
import { CONTROL, PROGRAM } from "./barrier.ts";
import { fillConstants } from "./constants.ts";
import { draftShape, fillDraftConstants } from "./drafts.ts";
import { kernelCode, startKernel } from "./kernel.ts";
import type { Kernel } from "./kernel-functions.ts";
import { LatticeArrays } from "./lattices.ts";
import { DRAFT_SESSIONS, type DraftShape, type IntegerShape, type Layout, layOut, MAX_ROWS } from "./layout.ts";
import { Member } from "./member.ts";
import { PassArrays } from "./pass-arrays.ts";
import { productsSaturate } from "./product.ts";
import type { ThreadData } from "./thread.ts";
import { IntegerWeights } from "./weights.ts";

export interface IntegerOptions {
  readonly shape: Omit<IntegerShape, "drafts"> & ModelShape;
  /** [headDim / 2] rotary angle per position, in radians. */
  readonly ropeFrequencies: readonly number[];
  readonly weightsPath: string;
  /** null: the model has no draft heads in integers. */
  readonly headsPath: string | null;
  /** Draft heads of another kind, which read `features`. */
  readonly headsGraph?: HeadsGraph | null;
  readonly cacheDir: string;
}

/**
 * A model computed in integers on the CPU: matrix products of bytes by onnxruntime, all else by the kernel. Every sum
 * is exact or in one fixed order, so results are the same bits whatever a pass was made up of.
 */
export class IntegerModel implements Model {
  readonly shape: IntegerShape & ModelShape;
  readonly pages: number;
  readonly maxRows = MAX_ROWS;
  readonly #layout: Layout;
  readonly #memory: ArrayBufferLike;
  readonly #kernel: Kernel;
  readonly #member: Member;
  readonly #threads: readonly Worker[];
  readonly #control: Int32Array;
  readonly #arrays: PassArrays;
  readonly #lattices: LatticeArrays | null;
  readonly #headsGraph: HeadsGraph | null;
  readonly #rotation: Rotation;
  readonly #outputNorm: Float32Array;
  #sequence = 0;

  private constructor(options: IntegerOptions, loaded: Loaded) {
    const { shape } = loaded;
    this.shape = { ...options.shape, ...shape };
    this.pages = loaded.layout.pages;
    this.#layout = loaded.layout;
    this.#memory = loaded.memory;
    this.#kernel = loaded.kernel;
    this.#member = loaded.member;
    this.#threads = loaded.threads;
    this.#control = new Int32Array(loaded.memory, loaded.layout.control, 64);
    this.#arrays = new PassArrays(loaded.memory, loaded.layout, shape);
    this.#lattices = loaded.lattices;
    this.#headsGraph = options.headsGraph ?? null;
    this.#rotation = new Rotation(shape.width);
    this.#outputNorm = loaded.outputNorm;
  }

  /** Throws Error where the weights do not fit the shape, or into memory. */
  static async load(options: IntegerOptions): Promise<IntegerModel> {
    return new IntegerModel(options, await load(options));
  }

  async forward(segments: readonly Segment[]): Promise<Forward> {
    const { rows, wanted, logits } = this.#arrays.fill(segments);
    const control = this.#control;
    control[CONTROL.program] = PROGRAM.pass;
    control[CONTROL.rows] = rows;
    control[CONTROL.wanted] = wanted;
    control[CONTROL.logits] = logits.some(Boolean) ? 1 : 0;
    this.#wake();
    const { vocabSize } = this.shape;
    const kept = new Map<number, Float32Array>();
    await this.#member.pass((first, count) => {
      for (let i = 0; i < count; i++) {
        if (!logits[first + i]) continue;
        const at = this.#layout.logits + i * vocabSize * 4;
        kept.set(first + i, Float32Array.from(new Float32Array(this.#memory, at, vocabSize)));
      }
    });
    return {
      argmax: Int32Array.from(new Int32Array(this.#memory, this.#layout.best, wanted)),
      logits(row) {
        const found = kept.get(row);
        assert(found !== undefined, "these logits were asked for");
        return found;
      },
    };
  }

  async heads(requests: readonly { readonly row: number; readonly bonus: number }[]): Promise<HeadsOutput[]> {
    if (this.#headsGraph !== null) {
      const features = Float32Array.from(requests.flatMap(({ row }) => [...this.features(row)]));
      const bonus = Int32Array.from(requests, (request) => request.bonus);
      return await this.#headsGraph.run(features, bonus);
    }
    const lattices = this.#lattices;
    assert(lattices !== null, "the bundle has draft heads");
    const outputs: HeadsOutput[] = [];
    for (let first = 0; first < requests.length; first += DRAFT_SESSIONS) {
      const some = requests.slice(first, first + DRAFT_SESSIONS);
      lattices.fill(some);
      this.#control[CONTROL.program] = PROGRAM.drafts;
      this.#control[CONTROL.sessions] = some.length;
      this.#wake();
      await this.#member.drafts();
      outputs.push(...some.map((_, s) => lattices.read(s)));
    }
    return outputs;
  }

  /** What the draft heads read of a wanted row, tapped streams and final state, in the model's own basis. */
  features(row: number): Float32Array {
    const { width, normEps, taps } = this.shape;
    const into = new Float32Array((taps.length + 1) * width);
    for (const [i, at] of [...this.#layout.taps, this.#layout.x].entries()) {
      into.set(new Float32Array(this.#memory, at + row * width * 4, width), i * width);
    }
    this.#rotation.restore(into);
    const final = into.subarray(into.length - width);
    const square = final.reduce((sum, value) => sum + value * value, 0) / width;
    const inverse = 1 / Math.sqrt(square + normEps);
    for (let i = 0; i < width; i++) final[i]! *= inverse * this.#outputNorm[i]!;
    return into;
  }

  keep({ pages, length }: Segment, rows: readonly number[]): void {
    const slot = (token: number) => pages[Math.floor(token / PAGE_TOKENS)]! * PAGE_TOKENS + (token % PAGE_TOKENS);
    for (const [i, row] of rows.entries()) {
      if (row !== i) this.#kernel.moveSlot(this.shape.layers, slot(length + row), slot(length + i));
    }
  }

  async release(): Promise<void> {
    Atomics.store(this.#control, CONTROL.ended, 1);
    const ended = this.#threads.map((thread) => once(thread, "exit"));
    this.#wake();
    await Promise.all(ended);
    await this.#member.release();
    await this.#headsGraph?.release();
  }

  #wake(): void {
    this.#sequence = (this.#sequence + 1) | 0;
    Atomics.store(this.#control, CONTROL.sequence, this.#sequence);
    Atomics.notify(this.#control, CONTROL.sequence);
  }
}

interface Loaded {
  readonly shape: IntegerShape;
  readonly layout: Layout;
  readonly memory: ArrayBufferLike;
  readonly kernel: Kernel;
  readonly member: Member;
  readonly threads: readonly Worker[];
  readonly outputNorm: Float32Array;
  readonly lattices: LatticeArrays | null;
}

async function load(options: IntegerOptions): Promise<Loaded> {
  const code = await kernelCode(options.cacheDir);
  const stored = await readShared(options.weightsPath);
  const weights = new IntegerWeights(new Uint8Array(stored));
  const storedHeads = options.headsPath === null ? null : await readShared(options.headsPath);
  const heads = storedHeads === null ? null : new IntegerWeights(new Uint8Array(storedHeads));
  const { latticeHeads, topK } = options.shape;
  const drafts = heads === null ? null : draftShape(heads, latticeHeads, topK);
  // Everything that a thread computes with; a WebAssembly module is cloned, memories are shared.
  const shape: IntegerShape = { ...options.shape, drafts };
  const layout = layOut(shape);
  const memory = new WebAssembly.Memory({ initial: layout.wasmPages, maximum: 65_536, shared: true });
  fillConstants(memory.buffer, layout, shape, weights, options.ropeFrequencies);
  if (heads !== null) fillDraftConstants(memory.buffer, shape, layout, weights, heads);
  const exactly = await productsSaturate();
  const threads = Array.from({ length: shape.members - 1 }, (_, i) => {
    const workerData: ThreadData = { id: i + 1, shape, code, memory, weights: stored, heads: storedHeads, exactly };
    return new Worker(new URL("./thread.ts", import.meta.url), { workerData, execArgv: [] });
  });
  const ready = threads.map((thread) => once(thread, "message"));
  const kernel = await startKernel(code, memory, shape, layout);
  const member = await Member.load(0, { shape, layout, kernel, memory: memory.buffer }, weights, heads, exactly);
  await Promise.all(ready);
  const outputNorm = Float32Array.from(weights.float32("output_norm", shape.width));
  const lattices = latticeArrays(memory.buffer, layout, drafts, heads);
  return { shape, layout, memory: memory.buffer, kernel, member, threads, outputNorm, lattices };
}

function latticeArrays(
  memory: ArrayBufferLike,
  { drafts: layout }: Layout,
  shape: DraftShape | null,
  weights: IntegerWeights | null,
): LatticeArrays | null {
  if (layout === null || shape === null || weights === null) return null;
  return new LatticeArrays(memory, layout, shape, weights);
}

async function readShared(path: string): Promise<SharedArrayBuffer> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const buffer = new SharedArrayBuffer(size);
    const bytes = new Uint8Array(buffer);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await file.read(bytes, at, Math.min(size - at, 1 << 26), at);
      if (bytesRead === 0) throw new Error(`${path} ends early`);
      at += bytesRead;
    }
    return buffer;
  } finally {
    await file.close();
  }
}
