import { type EngineModel, SessionEngine } from "./engine/engine.ts";
import type { EngineOptions } from "./engine/options.ts";
import { type LoadedModel, type LoadOptions, loadBundle } from "./load.ts";
import { ModelRunner } from "./runner.ts";

export type InProcessOptions = LoadOptions & EngineOptions;

/** A loaded model on the calling thread, which each pass blocks: for evaluation and benchmarks. */
function inProcessModel({ info, model, neural, grammars }: LoadedModel): EngineModel {
  const runner = new ModelRunner(model, neural, grammars);
  let pass: Promise<unknown> = Promise.resolve();
  return {
    info,
    runner: {
      open: (...session) => runner.open(...session),
      run(items) {
        const running = runner.run(items);
        pass = running.catch(() => undefined);
        return running;
      },
      close: (id) => runner.close(id),
    },
    pages: model.pages,
    maxRows: model.maxRows,
    restart: () => Promise.reject(new Error("a model in this process is not started again")),
    async close() {
      // What a pass computes with is not released under it.
      await pass;
      await model.release();
      await neural?.release();
    },
  };
}

export async function createInProcessEngine(bundleDir: string, options: InProcessOptions = {}): Promise<SessionEngine> {
  return new SessionEngine(inProcessModel(await loadBundle(bundleDir, options)), options);
}
