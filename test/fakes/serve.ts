import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readConfig } from "../../gpu-worker/config.ts";
import { Drafting } from "../../gpu-worker/serve/drafting.ts";
import type { Drafts } from "../../gpu-worker/serve/served.ts";
import { startServer } from "../../gpu-worker/serve/server.ts";
import type { BundleInfo } from "../../shared/engine.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { DRAFTING } from "./drafting.ts";
import { createFakeEngine } from "./fake-engine.ts";

/**
 * The real gpu-worker server over the fake engine, with the gpu-worker's environment variables. It takes name,
 * tokenizer and sizes from the bundle's manifest, where that bundle is compiled. FAKE_STEP_MS: how long every
 * call takes, FAKE_OPEN_MS: but the one that opens a session.
 */
const { key, host, port, bundle, bundleDir, maxSessions } = readConfig(process.env);

async function describe(): Promise<Partial<BundleInfo>> {
  const text = await readFile(join(bundleDir, "manifest.json"), "utf8").catch(() => null);
  if (text === null) return { model: bundle };
  const { architecture, tokenizer, latticeHeads, topK }: BundleManifest = JSON.parse(text);
  const { vocabSize, contextTokens } = architecture;
  return { model: bundle, tokenizerHash: tokenizer.sha256, vocabSize, contextTokens, latticeHeads, topK };
}

/** With the bundle's packs, where it is compiled. */
async function drafting(): Promise<Drafts> {
  return await Drafting.of(bundleDir).catch(() => DRAFTING);
}

const server = await startServer({ host, port, key });
const stepMs = Number(process.env.FAKE_STEP_MS ?? "0");
const openMs = Number(process.env.FAKE_OPEN_MS ?? stepMs);
server.serve(createFakeEngine({ bundle: await describe(), maxSessions, stepMs, openMs }), await drafting());
console.log(`fake gpu-worker: ${bundle}, listening on ${server.url}`);

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, async () => {
    await server.close(2_000);
    process.exit(0);
  });
}
