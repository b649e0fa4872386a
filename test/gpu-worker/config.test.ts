import { expect, test } from "vitest";
import { defaultCacheDir, readConfig } from "../../gpu-worker/config.ts";

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

test("what is compiled for a model is kept where bundles are, an empty variable being an absent one", () => {
  const kept = process.env.FOREDRAFT_CACHE;
  process.env.FOREDRAFT_CACHE = "elsewhere";
  expect(defaultCacheDir()).toBe("elsewhere");
  process.env.FOREDRAFT_CACHE = "";
  expect(defaultCacheDir()).toBe(readConfig({ GPU_WORKER_KEY: KEY }).cacheDir);
  delete process.env.FOREDRAFT_CACHE;
  expect(defaultCacheDir()).toBe(readConfig({ GPU_WORKER_KEY: KEY }).cacheDir);
  if (kept !== undefined) process.env.FOREDRAFT_CACHE = kept;
});

test("everything can be set", () => {
  const config = readConfig({
    GPU_WORKER_KEY: KEY,
    GPU_WORKER_HOST: "0.0.0.0",
    GPU_WORKER_PORT: "0",
    GPU_WORKER_PROVIDER: "webgpu",
    GPU_WORKER_THREADS: "3",
    GPU_WORKER_SESSIONS: "5",
    GPU_WORKER_MAX_WAIT_S: "7",
    GPU_WORKER_KV_MIB: "64",
    GPU_WORKER_REGISTRY_URL: "https://edge.example/",
    GPU_WORKER_PUBLIC_URL: "http://10.0.0.7:8788",
    FOREDRAFT_BUNDLE: "tiny",
    FOREDRAFT_CACHE: "elsewhere",
  });
  expect(config).toMatchObject({
    host: "0.0.0.0",
    port: 0,
    provider: "webgpu",
    threads: 3,
    maxSessions: 5,
    maxWaitMs: 7_000,
    kvLimitBytes: 64 * 2 ** 20,
    registry: { registryUrl: "https://edge.example", publicUrl: "http://10.0.0.7:8788" },
    cacheDir: "elsewhere",
  });
  expect(config.bundleDir).toMatch(/^elsewhere.bundles.tiny$/);
});

test.each([
  ["GPU_WORKER_KEY", "short"],
  ["GPU_WORKER_PORT", "65536"],
  ["GPU_WORKER_PORT", "abc"],
  ["GPU_WORKER_PROVIDER", "abacus"],
  ["GPU_WORKER_THREADS", "0"],
  ["GPU_WORKER_THREADS", "1.5"],
  ["GPU_WORKER_SESSIONS", "-1"],
  ["GPU_WORKER_MAX_WAIT_S", "0"],
  ["GPU_WORKER_KV_MIB", "15"],
  ["GPU_WORKER_REGISTRY_URL", "ftp://edge"],
  ["GPU_WORKER_PUBLIC_URL", "here"],
  ["FOREDRAFT_BUNDLE", "../outside"],
])("%s=%s is refused by name, without its value where that is the key", (name, value) => {
  expect(() => readConfig({ GPU_WORKER_KEY: KEY, [name]: value })).toThrow(new RegExp(`^${name}: `));
  if (name === "GPU_WORKER_KEY") expect(() => readConfig({ [name]: value })).not.toThrow(/short/);
});

test("a missing key is named", () => {
  expect(() => readConfig({})).toThrow(/GPU_WORKER_KEY: is required/);
});

test("one that registers says where it is reached", () => {
  expect(readConfig({ GPU_WORKER_KEY: KEY }).registry).toBeNull();
  expect(() => readConfig({ GPU_WORKER_KEY: KEY, GPU_WORKER_REGISTRY_URL: "http://edge" })).toThrow(
    /GPU_WORKER_PUBLIC_URL: is required with GPU_WORKER_REGISTRY_URL/,
  );
});
