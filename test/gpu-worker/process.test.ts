import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { EMPTY_TREE } from "../../shared/draft-tree.ts";
import { connectEngine } from "../contract/ws-client.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const KEY = "a key for these tests";
const never = new AbortController().signal;

let cache: string;
let child: ChildProcess | undefined;
beforeAll(async () => {
  cache = dirname(dirname(await ensureBundle("tiny")));
});
afterEach(() => child?.kill("SIGKILL"));

function launch(env: Record<string, string>) {
  const settings = {
    GPU_WORKER_KEY: KEY,
    GPU_WORKER_PORT: "0",
    GPU_WORKER_THREADS: "1",
    FOREDRAFT_BUNDLE: "tiny",
    FOREDRAFT_CACHE: cache,
    ...env,
  };
  const started = spawn(process.execPath, ["gpu-worker/main.ts"], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  child = started;
  const seen = { text: "" };
  const lines = new Set<() => void>();
  for (const stream of [started.stdout, started.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      seen.text += chunk;
      for (const line of lines) line();
    });
  }
  const says = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve) => {
      const look = () => {
        const match = pattern.exec(seen.text);
        if (match !== null) resolve(match);
      };
      lines.add(look);
      look();
    });
  // "close" comes once all output has been read.
  const ended = once(started, "close").then(([code]) => ({ code, said: seen.text }));
  return { says, ended, signal: (name: NodeJS.Signals) => started.kill(name) };
}

test.each(["SIGTERM", "SIGINT"] as const)("serves, and ends cleanly at %s", async (name) => {
  const worker = launch({});
  const [, url] = await worker.says(/listening on (http:\S+)/);
  const engine = connectEngine(url!, KEY);
  const spec = {
    model: "tiny",
    prompt: Uint32Array.of(5, 6),
    heads: 1,
    topK: 4,
    sampling: { temperature: 0, topP: 1, seed: 0 },
    logProbs: null,
    neural: null,
  };
  const session = await engine.open(spec, never);
  await session.step(0, EMPTY_TREE, never);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  worker.signal(name);
  expect(await worker.ended).toMatchObject({ code: 0 });
});

test("asked to stop while it still loads, it stops", async () => {
  const worker = launch({});
  worker.signal("SIGTERM");
  expect([0, null]).toContain((await worker.ended).code);
});

test.each([
  ["without a key", { GPU_WORKER_KEY: "" }, /gpu-worker: GPU_WORKER_KEY: is required/],
  ["with a short key", { GPU_WORKER_KEY: "secret" }, /GPU_WORKER_KEY: must have at least 16 characters/],
  ["without its bundle", { FOREDRAFT_BUNDLE: "missing" }, /gpu-worker: no bundle at .*missing.*npm run bundle/],
  [
    "where the provider cannot start",
    { GPU_WORKER_PROVIDER: "webgpu", VK_ICD_FILENAMES: "none", VK_DRIVER_FILES: "none" },
    /gpu-worker: onnxruntime cannot load .* with the provider "webgpu"/,
  ],
])("%s it says so and exits with 1", async (_, env, message) => {
  const { code, said } = await launch(env).ended;
  expect(said).toMatch(message);
  expect(code).toBe(1);
  expect(said).not.toContain("secret");
});
