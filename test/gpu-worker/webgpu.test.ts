import { existsSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import type { SessionEngine } from "../../gpu-worker/engine/engine.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { chain, EMPTY_TREE, mergePaths } from "../../shared/draft-tree.ts";
import type { Sampling } from "../../shared/engine.ts";

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
});
