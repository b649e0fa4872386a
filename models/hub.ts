import { mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cacheDir, sha256OfFile } from "./cache.ts";
import { download } from "./download.ts";
import { withLock } from "./lock.ts";
import { type PullOptions, STALL_MS } from "./pull.ts";

/** The Hugging Face Hub, or what stands in for it: FOREDRAFT_HUB. */
const DEFAULT_HUB = "https://huggingface.co";
const PART = "[A-Za-z0-9][A-Za-z0-9._-]*";
const PLACE = new RegExp(`^(${PART})/(${PART})/((?:${PART}/)*${PART}\\.(?:gguf|tar|tar\\.gz|tgz))$`, "i");
/** What names of the Hub's files begin with here. */
export const HUB = "hf:";

/**
 * The path of `OWNER/REPO/FILE` of the Hub, a GGUF file or a package's archive, fetched once. Checked against the size that the Hub names, and the
 * SHA-256 where it names one. Throws Error saying what the Hub answered.
 */
export async function fromHub(place: string, options: PullOptions): Promise<string> {
  const [, owner, repo, file] = PLACE.exec(place) ?? [];
  if (owner === undefined || repo === undefined || file === undefined) {
    throw new Error(`"hf:${place}" is not of the form hf:OWNER/REPO/FILE.gguf or FILE.tar.gz`);
  }
  const target = join(cacheDir(), "weights", "hub", owner, repo, file);
  if (await exists(target)) return target;
  const { signal, onNotice } = options;
  const onWait = (holder: string) => onNotice?.(`waiting for ${holder}, which is fetching ${place}`);
  const fetchOnce = async () => {
    if (await exists(target)) return target;
    await mkdir(dirname(target), { recursive: true });
    const base = process.env.FOREDRAFT_HUB ?? DEFAULT_HUB;
    const url = hubAddress(owner, repo, file);
    await obtain(url, target, options).catch((error: Error) => {
      const { code } = (error.cause ?? {}) as { code?: string };
      throw new Error(`hf:${place} could not be fetched from ${base}: ${error.message}${code ? ` (${code})` : ""}`);
    });
    return target;
  };
  return await withLock(`hub-${owner}-${repo}-${file.replaceAll("/", "-")}`, fetchOnce, { onWait, signal });
}

/** Where the Hub has a file. */
function hubAddress(owner: string, repo: string, file: string): string {
  const base = process.env.FOREDRAFT_HUB ?? DEFAULT_HUB;
  return `${base.replace(/\/$/, "")}/${owner}/${repo}/resolve/main/${file}`;
}

/** The address of what is called `hf:OWNER/REPO/FILE` here; null: it is not of that form. */
export function hubAddressOf(named: string): string | null {
  const [, owner, repo, file] = PLACE.exec(named.slice(HUB.length)) ?? [];
  return owner === undefined || repo === undefined || file === undefined ? null : hubAddress(owner, repo, file);
}

async function obtain(url: string, target: string, options: PullOptions): Promise<void> {
  const { signal, onProgress, stallMs = STALL_MS } = options;
  const { bytes, sha256 } = await describe(
    url,
    AbortSignal.any([AbortSignal.timeout(stallMs), ...(signal ? [signal] : [])]),
  );
  const part = `${target}.part`;
  try {
    await download(url, part, { bytes, stallMs, signal, onBytes: (done) => onProgress?.("weights", done, bytes) });
  } catch (error) {
    // Only a broken connection leaves its part for the next try.
    if (signal?.aborted) await rm(part, { force: true });
    throw error;
  }
  const { size } = await stat(part);
  const damaged = size !== bytes || (sha256 !== null && (await sha256OfFile(part)) !== sha256);
  if (damaged) {
    await rm(part, { force: true });
    throw new Error(`what arrived is not the file that was announced, ${bytes} bytes`);
  }
  await rename(part, target);
}

/** What the Hub says of a file before it sends it elsewhere for its bytes. */
async function describe(url: string, signal: AbortSignal): Promise<{ bytes: number; sha256: string | null }> {
  const response = await fetch(url, { method: "HEAD", redirect: "manual", signal });
  if (response.status >= 400) throw new Error(`HTTP ${response.status}`);
  const { headers } = response;
  const bytes = Number(headers.get("x-linked-size") ?? headers.get("content-length"));
  if (!Number.isSafeInteger(bytes) || bytes < 1) throw new Error("no size was announced");
  const tag = (headers.get("x-linked-etag") ?? "").replaceAll('"', "");
  return { bytes, sha256: /^[0-9a-f]{64}$/.test(tag) ? tag : null };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
