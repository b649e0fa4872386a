import { createFakeEngine } from "../fakes/fake-engine.ts";
import { stepEngineContract } from "./step-engine.contract.ts";

stepEngineContract("fake", async () => {
  const engine = createFakeEngine();
  return { engine, model: engine.bundle.model, close: async () => undefined };
});
