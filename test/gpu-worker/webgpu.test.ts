import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import onnxProto from "onnx-proto";
import ort from "onnxruntime-node";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import type { SessionEngine } from "../../gpu-worker/engine/engine.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { chain, EMPTY_TREE, mergePaths } from "../../shared/draft-tree.ts";
import type { Sampling } from "../../shared/engine.ts";
import type { BundleManifest } from "../../shared/manifest.ts";

/** SwiftShader, a Vulkan driver that computes on the CPU; Debian's chromium carries it. */
const DRIVER = "/usr/lib/chromium/vk_swiftshader_icd.json";
const LOADERS = ["/usr/lib/x86_64-linux-gnu/libvulkan.so.1", "/usr/lib/aarch64-linux-gnu/libvulkan.so.1"];

const missing = !existsSync(DRIVER) ? DRIVER : LOADERS.some(existsSync) ? null : "libvulkan.so.1";
if (missing !== null) console.log(`webgpu is not tested: no ${missing} (Debian packages chromium and libvulkan1)`);

const never = new AbortController().signal;

describe.skipIf(missing !== null)("webgpu and cpu", () => {
  const engines: SessionEngine[] = [];
  afterAll(() => Promise.all(engines.map((engine) => engine.close())));

  async function engineOn(provider: "cpu" | "webgpu") {
    process.env.VK_ICD_FILENAMES = DRIVER;
    const bundle = await ensureBundle("tiny", { precision: "fp32" });
    const engine = await createInProcessEngine(bundle, { provider, threads: 1, kvLimitBytes: 16 << 20 });
    engines.push(engine);
    return engine;
  }

  async function decode(engine: SessionEngine, sampling: Sampling, drafts: "none" | "chain" | "tree") {
    const { latticeHeads, model } = engine.bundle;
    const prompt = Uint32Array.from({ length: 12 }, (_, i) => 100 + i * 7);
    const heads = drafts === "none" ? 0 : latticeHeads;
    const others = { logProbs: null, neural: null, fixed: true, tenant: "" };
    const session = await engine.open({ model, prompt, heads, topK: 4, sampling, ...others }, never);
    const tokens = [session.opened.bonus];
    let last = session.opened;
    for (let index = 0; tokens.length < 9; index++) {
      const column = (i: number) =>
        Array.from({ length: last.lattice.heads }, (_, row) => last.lattice.tokens[row * last.lattice.k + i]!);
      const draft =
        drafts === "none" ? EMPTY_TREE : drafts === "chain" ? chain(column(0)) : mergePaths([column(0), column(1)]);
      last = await session.step(index, draft, never);
      tokens.push(...last.accepted.map((node) => draft.tokens[node]!), last.bonus);
    }
    session.close();
    return { tokens: tokens.slice(0, 9), likeliest: session.opened.lattice.tokens[0] };
  }

  test("give the same tokens, plain and drafted, greedy and sampled", { timeout: 180_000 }, async () => {
    const cpu = await engineOn("cpu");
    const webgpu = await engineOn("webgpu");
    const greedy = { temperature: 0, topP: 1, seed: 0 };
    const sampled = { temperature: 0.8, topP: 0.95, seed: 7 };
    for (const [sampling, drafts] of [
      [greedy, "none"],
      [greedy, "chain"],
      [greedy, "tree"],
      [sampled, "chain"],
    ] as const) {
      expect(await decode(webgpu, sampling, drafts)).toEqual(await decode(cpu, sampling, drafts));
    }
  });

  test("a device without float16 is told at the start, with what to take instead", { timeout: 60_000 }, async () => {
    process.env.VK_ICD_FILENAMES = DRIVER;
    const bundle = await ensureBundle("tiny", { provider: "webgpu" });
    const starting = createInProcessEngine(bundle, { provider: "webgpu", threads: 1, kvLimitBytes: 16 << 20 });
    await expect(starting).rejects.toThrow(/tiny in float16 does not run on webgpu here \(--precision fp32 may\)/);
  });

  test("WebGPU has every operator of a pass but a few on shapes, whose number does not grow with the blocks", {
    timeout: 180_000,
  }, async () => {
    process.env.VK_ICD_FILENAMES = DRIVER;
    const bundle = await ensureBundle("tiny", { precision: "fp32" });
    const manifest = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
    const base = await placement(join(bundle, "base.onnx"), baseFeeds(manifest.architecture));
    const heads = await placement(join(bundle, "heads.onnx"), headsFeeds(manifest));
    expect(base.onGpu.size).toBeGreaterThan(10);
    expect(base.onCpu.filter((op) => !ON_SHAPES.has(op))).toEqual([]);
    expect(base.onCpu.length).toBeLessThanOrEqual(manifest.architecture.layers);
    expect(heads.onCpu).toEqual([]);

    // SwiftShader has no float16, so its graphs are held against those that ran: casts are all that they add (and outputs by another name).
    const halves = await ensureBundle("tiny", { precision: "fp16" });
    for (const [graph, { onGpu, onCpu }] of [["base", base] as const, ["heads", heads] as const]) {
      const known = new Set([...onGpu, ...onCpu, "Cast", "Identity"]);
      expect((await operators(join(halves, `${graph}.onnx`))).filter((op) => !known.has(op))).toEqual([]);
    }
  });
});

/** What WebGPU leaves to the CPU: integers of 64 bits, which are lengths and positions. */
const ON_SHAPES = new Set(["Cast", "Concat", "Sub", "Unsqueeze"]);

type Feeds = Record<string, ort.Tensor>;

function baseFeeds({ layers, kvHeads, headDim }: BundleManifest["architecture"]): Feeds {
  const [rows, past] = [3, 64];
  const feeds: Feeds = {
    tokens: new ort.Tensor("int32", Int32Array.of(5, 6, 7), [rows]),
    positions: new ort.Tensor("int32", Int32Array.of(0, 1, 2), [rows]),
    rows: new ort.Tensor("int32", Int32Array.of(1, 2), [2]),
    bias: new ort.Tensor("float32", new Float32Array(rows * (past + rows)), [rows, past + rows]),
  };
  const cache = () => new ort.Tensor("float32", new Float32Array(kvHeads * past * headDim), [kvHeads, past, headDim]);
  for (let i = 0; i < layers; i++) Object.assign(feeds, { [`past_k_${i}`]: cache(), [`past_v_${i}`]: cache() });
  return feeds;
}

function headsFeeds({ architecture, taps }: BundleManifest): Feeds {
  const width = architecture.width * (taps.length + 1);
  return {
    hidden: new ort.Tensor("float32", new Float32Array(width).fill(0.1), [1, width]),
    bonus: new ort.Tensor("int32", Int32Array.of(5), [1]),
  };
}

/** Where onnxruntime ran the nodes of a graph, by its own profile. */
async function placement(path: string, feeds: Feeds): Promise<{ onGpu: Set<string>; onCpu: string[] }> {
  const dir = await mkdtemp(join(tmpdir(), "foredraft-placement-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const session = await ort.InferenceSession.create(path, {
    executionProviders: ["webgpu"],
    enableProfiling: true,
    profileFilePrefix: join(dir, "profile"),
    logSeverityLevel: 3,
  });
  await session.run(feeds);
  session.endProfiling();
  await session.release();
  const [profile] = await readdir(dir);
  const events = JSON.parse(await readFile(join(dir, profile!), "utf8")) as {
    name: string;
    args?: { provider?: string; op_name?: string };
  }[];
  const kernels = events.filter(({ name, args }) => name.endsWith("_kernel_time") && args?.provider !== undefined);
  const of = (provider: string) =>
    kernels.filter(({ args }) => args!.provider === provider).map(({ args }) => args!.op_name!);
  return { onGpu: new Set(of("WebGpuExecutionProvider")), onCpu: of("CPUExecutionProvider") };
}

async function operators(path: string): Promise<string[]> {
  const { graph } = onnxProto.onnx.ModelProto.decode(await readFile(path));
  return [...new Set(graph!.node!.map(({ opType }) => opType!))];
}
