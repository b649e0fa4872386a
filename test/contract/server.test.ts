import { startServer } from "../../gpu-worker/serve/server.ts";
import { DRAFTING } from "../fakes/drafting.ts";
import { createFakeEngine } from "../fakes/fake-engine.ts";
import { stepEngineContract } from "./step-engine.contract.ts";
import { connectEngine } from "./ws-client.ts";

const KEY = "a key for the contract";

stepEngineContract("fake behind the gpu-worker's server", async () => {
  const engine = createFakeEngine();
  const server = await startServer({ host: "127.0.0.1", port: 0, key: KEY });
  server.serve(engine, DRAFTING);
  return { engine: connectEngine(server.url, KEY), model: engine.bundle.model, close: () => server.close(1_000) };
});
