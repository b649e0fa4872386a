import { SessionEngine } from "../../gpu-worker/engine/engine.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ModelProcess } from "../../gpu-worker/process/model-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { stepEngineContract } from "./step-engine.contract.ts";

const SMALL = { threads: 1, kvLimitBytes: 16 << 20 };

function under(engine: SessionEngine, rounding = 0) {
  return { engine, model: engine.bundle.model, rounding, close: () => engine.close() };
}

stepEngineContract("tiny in integers, in this process", async () =>
  under(await createInProcessEngine(await ensureBundle("tiny"), SMALL)),
);

stepEngineContract("tiny as a float32 graph, in this process", async () =>
  under(await createInProcessEngine(await ensureBundle("tiny", { precision: "fp32" }), SMALL), 1e-4),
);

stepEngineContract("tiny in a process of its own, on two threads", async () =>
  under(new SessionEngine(await ModelProcess.start(await ensureBundle("tiny"), { ...SMALL, threads: 2 }))),
);
