import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function benchGpu(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ended> {
  const argv = ["bench/commands/bench.ts", "gpu", "--bundle", "tiny", "--json", ...args];
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, argv, {
      cwd: ROOT,
      env: { ...process.env, ...env },
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as Ended;
  }
}

test("without a GPU it says so, in words, as JSON and by its exit code", { timeout: 120_000 }, async () => {
  // No Vulkan driver; onnxruntime's package comes without CUDA's libraries.
  const none = { VK_ICD_FILENAMES: "none", VK_DRIVER_FILES: "none" };
  const { code, stdout, stderr } = await benchGpu([], none);
  expect(code).toBe(3);
  expect(stderr).toContain("No GPU was found: cuda and webgpu did not start.");
  expect(JSON.parse(stdout)).toMatchObject({
    gpu_found: false,
    figures: {
      cuda: {
        fp16: { error: expect.any(String) },
        fp32: { error: expect.stringContaining('with the provider "cuda"') },
      },
      webgpu: {
        fp16: { error: expect.any(String) },
        fp32: { error: expect.stringContaining('with the provider "webgpu"') },
      },
    },
  });
});

test("measures everything with a provider that is here", { timeout: 240_000 }, async () => {
  const { code, stdout } = await benchGpu(["--provider", "cpu", "--minutes", "0.001", "--max-tokens", "8"], {});
  expect(code).toBe(0);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ gpu_found: false, settings: { bundle: "tiny", max_tokens: 8 } });
  const ms = expect.any(Number);
  const drafted = { tokens_per_s: ms, block_efficiency: ms, speedup: ms, identical: "1 of 1" };
  const figures = {
    load_s: ms,
    // Where time is short, the powers of two.
    c_ms: Object.fromEntries([1, 2, 4, 8, 16, 32, 64].map((rows) => [rows, ms])),
    context_ms: { 128: ms, 512: ms },
    prefill_tokens_per_s: ms,
    heads_ms: ms,
    plain_tokens_per_s: ms,
    drafted: { none: drafted, tree: drafted, "prompt-lookup": drafted },
  };
  expect(result.figures).toEqual({ cpu: { int8: figures, fp32: figures } });
});
