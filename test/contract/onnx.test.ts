import { createLocalEngine } from "../../gpu-worker/local.ts";
import { createThreadEngine } from "../../gpu-worker/threaded.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { stepEngineContract } from "./step-engine.contract.ts";

const QUIET = { threads: 1, spinning: false };

stepEngineContract("tiny on onnxruntime, in this thread", async () => {
  const engine = await createLocalEngine(await ensureBundle("tiny"), QUIET);
  return { engine, model: engine.bundle.model, close: () => engine.close() };
});

stepEngineContract("tiny on onnxruntime, in its own thread", async () => {
  const engine = await createThreadEngine(await ensureBundle("tiny"), QUIET);
  return { engine, model: engine.bundle.model, close: () => engine.close() };
});
