import { spawn } from "node:child_process";
import { once } from "node:events";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { ROOT } from "../scripts/paths.ts";
import type { BundleManifest } from "../shared/manifest.ts";
import { tapsOf } from "./features.ts";
import type { Work } from "./work.ts";

/** What train/heads.py imports. */
const NEEDS = ["torch", "safetensors", "gguf", "numpy", "tqdm"];
/** Of the hidden layer and of vocabularies the kernel takes multiples of 8. */
const UNIT = 8;
const WIDEST = 2048;
/** Later ones are seldom right. */
export const HEADS = 8;
const LEARNED_TOKENS = 8192;
const DRAFTED_TOKENS = 12_288;
/** 0 would mean any number of them to the trainer. */
const LEAST_MINUTES = 0.05;

/** What is in the way of training heads by this Python; null: nothing. */
export async function pythonFault(python: string): Promise<string | null> {
  const child = spawn(python, ["-c", `import ${NEEDS.join(", ")}`], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const ended = await Promise.race([
    once(child, "close").then(([code]) => (code === 0 ? null : (said.trim().split("\n").at(-1) ?? `exit ${code}`))),
    once(child, "error").then(([error]) => (error as Error).message),
  ]);
  return ended === null ? null : `${python}: ${ended}`;
}

/**
 * Trains draft heads on the shards of `count` texts in `shards` for what is left of the step's time, and puts them at `target`. They begin
 * from `earlier` heads, made from fewer texts, unless it is null. The trainer saves itself every minute and goes on from there. Throws
 * Error with its exit code.
 */
export async function trainHeads(
  work: Work,
  python: string,
  gguf: string,
  shards: string,
  count: number,
  { architecture }: BundleManifest,
  target: string,
  earlier: string | null,
  threads: number | null,
  signal: AbortSignal,
): Promise<void> {
  const { layers, width, vocabSize } = architecture;
  const whole = (count: number) => Math.floor(count / UNIT) * UNIT;
  // Its checkpoint lies beside it: other shards, another order of them.
  const name = `heads-${count}.safetensors`;
  const made = work.path(name);
  const options: Record<string, string | number> = {
    gguf,
    distill: shards,
    out: made,
    taps: tapsOf(layers).join(","),
    count: HEADS,
    inner: whole(Math.min(2 * width, WIDEST)),
    "train-vocab": whole(Math.min(vocabSize, LEARNED_TOKENS)),
    "draft-vocab": whole(Math.min(vocabSize, DRAFTED_TOKENS)),
    epochs: 30,
    minutes: Math.max(LEAST_MINUTES, (await work.share("heads", name)) / 60).toFixed(2),
    ...(earlier === null ? {} : { init: earlier }),
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const script = join(ROOT, "train", "heads.py");
  await work.timed("heads", async () => {
    const child = spawn(python, [script, ...args, "--resident"], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, THREADS: String(threads ?? process.env.THREADS ?? 2) },
      signal,
    });
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) throw new Error(`train/heads.py ended with ${code}; its words are above`);
  });
  await rename(made, target);
}
