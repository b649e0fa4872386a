import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { freePort, waitUntilReady } from "../../scripts/net.ts";
import { EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { OpenSpec } from "../../shared/engine.ts";
import { codeOf } from "../contract/probe.ts";
import { connectEngine } from "../contract/ws-client.ts";
import { modelsOf, runs } from "../helpers/processes.ts";
import { PLAIN } from "../helpers/session.ts";
import { metric } from "./metric.ts";

// Programs take their time to start where others keep the cores busy.
vi.setConfig({ testTimeout: 120_000 });

const ROOT = join(import.meta.dirname, "..", "..");
const KEY = "a key for these tests";
const never = new AbortController().signal;

let cache: string;
let child: ChildProcess | undefined;
beforeAll(async () => {
  cache = dirname(dirname(await ensureBundle("tiny")));
  await ensureBundle("tiny", { precision: "fp32" });
});
afterEach(() => child?.kill("SIGKILL"));

/** @param files descriptors it may have open; undefined: as many as this process */
function launch(env: Record<string, string>, files?: number) {
  const settings = {
    GPU_WORKER_KEY: KEY,
    GPU_WORKER_PORT: "0",
    GPU_WORKER_THREADS: "1",
    FOREDRAFT_BUNDLE: "tiny",
    FOREDRAFT_CACHE: cache,
    ...env,
  };
  const limit = files === undefined ? "" : `ulimit -n ${files} && `;
  const started = spawn("sh", ["-c", `${limit}exec "$0" gpu-worker/main.ts`, process.execPath], {
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
  return { says, ended, pid: started.pid!, signal: (name: NodeJS.Signals) => started.kill(name) };
}

const SPEC: OpenSpec = { ...PLAIN, model: "tiny", prompt: Uint32Array.of(5, 6), heads: 1, topK: 4 };

test.each(["SIGTERM", "SIGINT"] as const)("serves, and ends cleanly at %s", async (name) => {
  const worker = launch({});
  const [, url] = await worker.says(/listening on (http:\S+)/);
  const engine = connectEngine(url!, KEY);
  const session = await engine.open(SPEC, never);
  await session.step(0, EMPTY_TREE, never);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  worker.signal(name);
  expect(await worker.ended).toMatchObject({ code: 0 });
});

test("a model's process that is killed is started again: a session notices nothing but the time", async () => {
  const worker = launch({});
  const [, url] = await worker.says(/listening on (http:\S+)/);
  const decode = async (meanwhile: () => Promise<void>) => {
    const session = await connectEngine(url!, KEY).open(SPEC, never);
    const tokens = [session.opened.bonus];
    for (let index = 0; index < 6; index++) {
      if (index === 3) await meanwhile();
      tokens.push((await session.step(index, EMPTY_TREE, never)).bonus);
    }
    session.close();
    return tokens;
  };
  const [model] = await modelsOf(worker.pid);
  const undisturbed = await decode(async () => undefined);
  expect(await decode(async () => void process.kill(model!, "SIGKILL"))).toEqual(undisturbed);
  await worker.says(/gpu-worker: the model's process ended \(SIGKILL\); starting it again\n/);
  expect(await metric(url!, "foredraft_model_restarts_total")).toBe(1);
  expect(await modelsOf(worker.pid)).not.toContain(model);
  worker.signal("SIGTERM");
  // Its output ends with the last process that writes to it, the model's included.
  expect(await worker.ended).toMatchObject({ code: 0 });
});

test("killed while its model's process is stopped, it takes that with it", async () => {
  const worker = launch({});
  await worker.says(/listening on (http:\S+)/);
  const [model] = await modelsOf(worker.pid);
  process.kill(model!, "SIGSTOP");
  worker.signal("SIGKILL");
  await vi.waitFor(async () => expect(await runs(model!)).toBe(false), 30_000);
  // Its output ends with the last process that writes to it.
  await worker.ended;
});

test("a model that cannot be had again ends the program, for whoever watches it to start it afresh", async () => {
  const own = await mkdtemp(join(tmpdir(), "foredraft-process-"));
  await cp(join(cache, "bundles", "tiny"), join(own, "bundles", "tiny"), { recursive: true });
  const worker = launch({ FOREDRAFT_CACHE: own });
  const [, url] = await worker.says(/listening on (http:\S+)/);
  const session = await connectEngine(url!, KEY).open(SPEC, never);
  await rm(own, { recursive: true });
  const [model] = await modelsOf(worker.pid);
  process.kill(model!, "SIGKILL");
  expect(await codeOf(session.step(0, EMPTY_TREE, never))).toBe("engine_unavailable");
  const { code, said } = await worker.ended;
  expect(code).toBe(1);
  expect(said).toMatch(/gpu-worker: no bundle at .*; the model is given up\n/);
});

test("peers that hold on to what they were refused neither starve it nor keep it from stopping", async () => {
  const worker = launch({}, 300);
  const [, url] = await worker.says(/listening on (http:\S+)/);
  const upgrade = "GET /v1/step HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
  const peers: Socket[] = [];
  const hold = async (head: string, awaited: string) => {
    const peer = connect({ port: Number(new URL(url!).port), host: "127.0.0.1", allowHalfOpen: true });
    peers.push(peer);
    peer.on("error", () => undefined).write(head);
    await new Promise((done) => peer.once(awaited, done));
  };
  for (let i = 0; i < 400; i += 50) await Promise.all(Array.from({ length: 50 }, () => hold(upgrade, "readable")));
  await Promise.all(Array.from({ length: 400 }, () => hold("GET /", "connect")));
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  worker.signal("SIGTERM");
  const { code, said } = await worker.ended;
  for (const peer of peers) peer.destroy();
  expect(code).toBe(0);
  expect(said).toContain("gpu-worker: refused 127.0.0.1: upgrade answered 401, wrong key\n");
  expect(said).toContain("gpu-worker: refused 399 more: upgrade answered 401, wrong key\n");
  expect(said).not.toContain(KEY);
});

test("asked to stop while it still loads, it stops", async () => {
  const port = await freePort("127.0.0.1", 0, "port");
  const worker = launch({ GPU_WORKER_PORT: String(port) });
  // From then on it can be asked, model or not.
  await waitUntilReady(`http://127.0.0.1:${port}/healthz`, 60_000, never);
  worker.signal("SIGTERM");
  expect(await worker.ended).toMatchObject({ code: 0 });
});

test.each([
  ["without a key", { GPU_WORKER_KEY: "" }, /gpu-worker: GPU_WORKER_KEY: is required/],
  ["with a short key", { GPU_WORKER_KEY: "secret" }, /GPU_WORKER_KEY: must have at least 16 characters/],
  ["without its bundle", { FOREDRAFT_BUNDLE: "missing" }, /gpu-worker: no bundle at .*missing.*npm run bundle/],
  [
    "where the provider cannot start",
    { FOREDRAFT_BUNDLE: "tiny-fp32", GPU_WORKER_PROVIDER: "webgpu", VK_ICD_FILENAMES: "none", VK_DRIVER_FILES: "none" },
    /gpu-worker: onnxruntime cannot load .* with the provider "webgpu"/,
  ],
  [
    "with weights that the provider has no use for",
    { GPU_WORKER_PROVIDER: "webgpu" },
    /gpu-worker: bundle tiny has integer weights.*npm run bundle -- tiny --precision fp16/,
  ],
])("%s it says so and exits with 1", async (_, env, message) => {
  const { code, said } = await launch(env).ended;
  expect(said).toMatch(message);
  expect(code).toBe(1);
  expect(said).not.toContain("secret");
});
