import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { defaultCacheDir } from "../../../gpu-worker/config.ts";
import { kernelBytes, kernelCode } from "../../../gpu-worker/integer/kernel.ts";
import { kernelsAgree } from "../../../gpu-worker/integer/kernel-check.ts";

vi.mock("../../../gpu-worker/integer/kernel-check.ts", async (original) => {
  const { kernelsAgree: actual } = await original<typeof import("../../../gpu-worker/integer/kernel-check.ts")>();
  return { kernelsAgree: vi.fn(actual) };
});

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-kernel-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test("a kernel is compiled once, and again where it is damaged", { timeout: 120_000 }, async () => {
  // Side by side, as two models that are loaded at once.
  const [bytes, same] = await Promise.all([kernelBytes(dir), kernelBytes(dir)]);
  expect(WebAssembly.validate(bytes)).toBe(true);
  expect(Buffer.compare(bytes, same)).toBe(0);
  const [name, ...others] = await readdir(join(dir, "kernels"));
  expect(others).toEqual([]);
  const path = join(dir, "kernels", name!);
  const { mtimeMs } = await stat(path);
  expect(Buffer.compare(await kernelBytes(dir), bytes)).toBe(0);
  expect((await stat(path)).mtimeMs).toBe(mtimeMs);
  await writeFile(path, bytes.subarray(0, bytes.length - 1));
  expect(Buffer.compare(await kernelBytes(dir), bytes)).toBe(0);
  expect(Buffer.compare(await readFile(path), bytes)).toBe(0);
});

test.each([
  ["wide", true],
  ["narrow", false],
])("the kernel has %s vectors where the check of those says %s", async (_, agree) => {
  const check = vi.mocked(kernelsAgree).mockResolvedValueOnce(agree);
  const code = await kernelCode(defaultCacheDir());
  const [plain, wide] = check.mock.lastCall!;
  expect(plain).not.toBe(wide);
  expect(code).toBe(agree ? wide : plain);
});
