import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDir } from "../../models/cache.ts";
import { MODELS_DIR, readSource } from "../../models/source.ts";
import type { BundleManifest } from "../../shared/manifest.ts";

/** The GGUF file of a bundle if it is on this machine already; nothing is ever fetched for a test. */
export async function weightsAtHand(name: string): Promise<string | null> {
  const { gguf } = await readSource(name);
  if ("file" in gguf) return join(MODELS_DIR, name, gguf.file);
  return present(join(cacheDir(), "weights", `${gguf.sha256.slice(0, 16)}.gguf`));
}

/** A compiled bundle in the cache, or null. */
export async function bundleAtHand(name: string): Promise<{ dir: string; manifest: BundleManifest } | null> {
  const dir = join(cacheDir(), "bundles", name);
  const path = await present(join(dir, "manifest.json"));
  return path === null ? null : { dir, manifest: JSON.parse(await readFile(path, "utf8")) as BundleManifest };
}

async function present(path: string): Promise<string | null> {
  return access(path).then(
    () => path,
    () => null,
  );
}

/** Says on stderr why a test is skipped. */
export function because(reason: string): string {
  process.stderr.write(`skipped: ${reason}\n`);
  return reason;
}
