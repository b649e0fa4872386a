import { expect, test } from "vitest";
import { readConfig } from "../../gpu-worker/config.ts";

const KEY = "0123456789abcdef";

test("only the key is required", () => {
  const config = readConfig({ GPU_WORKER_KEY: KEY });
  expect(config).toMatchObject({ host: "127.0.0.1", port: 8788, provider: "cpu", bundle: "smollm2-135m" });
  expect(config.threads).toBeUndefined();
  expect(config.bundleDir).toMatch(/\.cache.bundles.smollm2-135m$/);
});

test("an empty variable is an absent one", () => {
  expect(readConfig({ GPU_WORKER_KEY: KEY, GPU_WORKER_PORT: "", GPU_WORKER_THREADS: "" })).toMatchObject({
    port: 8788,
  });
});

test("everything can be set", () => {
  const config = readConfig({
    GPU_WORKER_KEY: KEY,
    GPU_WORKER_HOST: "0.0.0.0",
    GPU_WORKER_PORT: "0",
    GPU_WORKER_PROVIDER: "webgpu",
    GPU_WORKER_THREADS: "3",
    GPU_WORKER_SPINNING: "0",
    GPU_WORKER_SESSIONS: "5",
    GPU_WORKER_KV_MIB: "64",
    FOREDRAFT_BUNDLE: "tiny",
    FOREDRAFT_CACHE: "elsewhere",
  });
  expect(config).toMatchObject({
    host: "0.0.0.0",
    port: 0,
    provider: "webgpu",
    threads: 3,
    spinning: false,
    maxSessions: 5,
    kvLimitBytes: 64 * 2 ** 20,
  });
  expect(config.bundleDir).toMatch(/^elsewhere.bundles.tiny$/);
});

test.each([
  ["GPU_WORKER_KEY", "short"],
  ["GPU_WORKER_PORT", "65536"],
  ["GPU_WORKER_PORT", "abc"],
  ["GPU_WORKER_PROVIDER", "cuda"],
  ["GPU_WORKER_THREADS", "0"],
  ["GPU_WORKER_THREADS", "1.5"],
  ["GPU_WORKER_SESSIONS", "-1"],
  ["FOREDRAFT_BUNDLE", "../outside"],
])("%s=%s is refused by name, without its value where that is the key", (name, value) => {
  expect(() => readConfig({ GPU_WORKER_KEY: KEY, [name]: value })).toThrow(new RegExp(`^${name}: `));
  if (name === "GPU_WORKER_KEY") expect(() => readConfig({ [name]: value })).not.toThrow(/short/);
});

test("a missing key is named", () => {
  expect(() => readConfig({})).toThrow(/GPU_WORKER_KEY: is required/);
});
