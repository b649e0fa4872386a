import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Provider } from "../../gpu-worker/onnx/session.ts";

const QUERY = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"];
const WAIT_MS = 10_000;

/** Names, drivers and memory of NVIDIA's cards as their driver tells them; null: there is none, or no such driver. */
export async function nvidiaCards(): Promise<string[] | null> {
  try {
    const { stdout } = await promisify(execFile)("nvidia-smi", QUERY, { timeout: WAIT_MS });
    const cards = stdout.trim().split("\n").filter(Boolean);
    return cards.length > 0 ? cards : null;
  } catch {
    return null;
  }
}

/** What a reader needs to know of a provider's failure: onnxruntime adds sources and build paths. */
export function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split("\n", 1)[0]!;
}

/** Those that a GPU may be behind, the quicker first. */
export const GPU_PROVIDERS: readonly Provider[] = ["cuda", "webgpu"];
