import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../../shared/assert.ts";
import { CONTROL } from "./barrier.ts";
import { startKernel } from "./kernel.ts";
import { type IntegerShape, layOut } from "./layout.ts";
import { Member } from "./member.ts";
import { IntegerWeights } from "./weights.ts";

/** What a member's thread is started with. */
export interface ThreadData {
  readonly id: number;
  readonly shape: IntegerShape;
  readonly code: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly weights: SharedArrayBuffer;
  /** null: the model has no draft heads. */
  readonly heads: SharedArrayBuffer | null;
  readonly exactly: boolean;
}

assert(parentPort !== null, "this file is a worker thread");
const { id, shape, code, memory, weights, heads, exactly } = workerData as ThreadData;
const layout = layOut(shape);
const kernel = await startKernel(code, memory, shape, layout);
const parts = { shape, layout, kernel, memory: memory.buffer };
const base = new IntegerWeights(new Uint8Array(weights));
const drafts = heads === null ? null : new IntegerWeights(new Uint8Array(heads));
const member = await Member.load(id, parts, base, drafts, exactly);
const control = new Int32Array(memory.buffer, layout.control, 64);
parentPort.postMessage("ready");

for (let sequence = 0; ; ) {
  Atomics.wait(control, CONTROL.sequence, sequence);
  const next = Atomics.load(control, CONTROL.sequence);
  if (next === sequence) continue;
  sequence = next;
  if (Atomics.load(control, CONTROL.ended) === 1) break;
  await member.run();
}
await member.release();
