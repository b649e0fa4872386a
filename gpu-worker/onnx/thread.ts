import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../../shared/assert.ts";
import { StepError } from "../../shared/errors.ts";
import { loadRunner } from "../local.ts";
import type { Outcome } from "../runner.ts";
import type { FromThread, ThreadData, ToThread } from "./protocol.ts";

/*
 * The thread that owns the model and all caches. A forward pass blocks it, so what arrives meanwhile waits in its
 * port; the other end sends one call at a time.
 */

const port = parentPort;
assert(port !== null, "this file is a worker thread");
const { bundleDir, options } = workerData as ThreadData;
const { runner, info, bundle, model, neural } = await loadRunner(bundleDir, options);
/** Settles with the call being answered, if any. */
let running: Promise<void> = Promise.resolve();

const send = (message: FromThread) => port.postMessage(message);

async function answer(call: number, work: () => Promise<Outcome | null>): Promise<void> {
  try {
    const outcome = await work();
    send({ op: "done", call, outcome, kvBytes: runner.kvBytes });
  } catch (error) {
    const code = error instanceof StepError ? error.code : null;
    const message = error instanceof Error ? error.message : String(error);
    send({ op: "failed", call, code, message, kvBytes: runner.kvBytes });
  }
}

/** Ending the thread from outside during a native call would abort the process, so it ends by itself. */
async function end(): Promise<void> {
  await running;
  await model.release();
  await neural?.release();
  port?.close();
}

port.on("message", (message: ToThread) => {
  switch (message.op) {
    case "open":
      running = answer(message.call, async () => {
        runner.open(message.id, message.spec);
        return null;
      });
      return;
    case "prefill":
      running = answer(message.call, () => runner.prefill(message.id, message.tokens, message.last));
      return;
    case "step":
      running = answer(message.call, () => runner.step(message.id, message.draft));
      return;
    case "close":
      runner.close(message.id);
      send({ op: "closed", kvBytes: runner.kvBytes });
      return;
    case "end":
      void end();
  }
});
send({ op: "ready", info, notice: bundle.notice });
