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
const { runner, info, bundle } = await loadRunner(bundleDir, options);

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

port.on("message", (message: ToThread) => {
  switch (message.op) {
    case "open":
      runner.open(message.id, message.spec);
      return;
    case "prefill":
      void answer(message.call, () => runner.prefill(message.id, message.tokens, message.last));
      return;
    case "step":
      void answer(message.call, () => runner.step(message.id, message.draft));
      return;
    case "close":
      runner.close(message.id);
      send({ op: "closed", kvBytes: runner.kvBytes });
  }
});
send({ op: "ready", info, notice: bundle.notice });
