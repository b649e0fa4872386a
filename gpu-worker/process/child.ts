import { assert } from "../../shared/assert.ts";
import { loadBundle } from "../load.ts";
import { ModelRunner, type RunnerItem } from "../runner.ts";
import type { FromModel, ToModel } from "./messages.ts";

/*
 * The process that owns the model and the cache. A crash in here, or a hang, is a pause for the sessions: the server
 * starts another one and computes what was lost again.
 */

assert(process.send !== undefined, "this file is started by the server's process");

// The server decides when this process ends; a signal to the whole group is not for it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("disconnect", () => process.exit(0));

const send = (message: FromModel) => process.send?.(message);
let runner: ModelRunner | null = null;

process.on("message", (message: ToModel) => {
  if (message.op === "load") {
    load(message).catch(fail);
    return;
  }
  assert(runner !== null, "the model is loaded first");
  if (message.op === "open") runner.open(message.id, message.session, message.pages, message.cached);
  else if (message.op === "close") runner.close(message.id);
  else run(runner, message.items).catch(fail);
});

async function load({ bundleDir, options }: Extract<ToModel, { op: "load" }>): Promise<void> {
  const { bundle, info, model, neural, grammars } = await loadBundle(bundleDir, options);
  runner = new ModelRunner(model, neural, grammars);
  send({ op: "ready", info, notice: bundle.notice, pages: model.pages, maxRows: model.maxRows });
}

async function run(on: ModelRunner, items: readonly RunnerItem[]): Promise<void> {
  send({ op: "done", result: await on.run(items) });
}

function fail(error: unknown): void {
  const message = error instanceof Error ? (runner === null ? error.message : (error.stack ?? "")) : String(error);
  send({ op: "failed", message });
}
