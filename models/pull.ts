import { mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cacheDir, sha256OfFile } from "./cache.ts";
import { DiskFault } from "./disk.ts";
import { download, type FetchOptions } from "./download.ts";
import { withLock } from "./lock.ts";
import { fromPip } from "./pip.ts";
import type { BundleSource } from "./source.ts";

/** A source from which nothing arrives for so long is given up. */
export const STALL_MS = 30_000;

/** Bytes had so far of bytes expected, for a progress bar. */
export type Progress = (stage: string, done: number, total: number) => void;

export interface PullOptions {
  readonly onProgress?: Progress | undefined;
  /** What a user should know: a wait, something damaged. */
  readonly onNotice?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly stallMs?: number;
}

type Published = Extract<BundleSource["gguf"], { sha256: string }>;

/** The weights could not be had from any source; the message says what each one answered. */
export class WeightsUnavailable extends Error {}

/**
 * The path of the bundle's GGUF file, fetched where it is not at hand: the cache, FOREDRAFT_GGUF, the
 * published addresses (FOREDRAFT_GGUF_URL first), pip. A fetched file is checked against the pinned
 * SHA-256 before it takes its name, a cached one whenever it is asked for; a broken download is resumed. One
 * process fetches, others that want the same wait for it. Throws WeightsUnavailable, DiskFault.
 */
export async function pull(source: BundleSource, options: PullOptions = {}): Promise<string> {
  const { gguf, name, folder } = source;
  if ("path" in gguf) return gguf.path;
  if ("file" in gguf) return join(folder ?? "", gguf.file);
  const id = gguf.sha256.slice(0, 16);
  const target = join(cacheDir(), "weights", `${id}.gguf`);
  if (await isWhole(target, gguf)) return target;
  const given = process.env.FOREDRAFT_GGUF;
  if (given) return check(given, gguf);
  const { onNotice, signal } = options;
  const onWait = (holder: string) => onNotice?.(`waiting for ${holder}, which is fetching the weights of ${name}`);
  const fetchOnce = async () => {
    // Somebody else may have fetched it meanwhile.
    if (await isWhole(target, gguf)) return target;
    if ((await sizeOf(target)) !== null) onNotice?.(`${target} is damaged; fetching it again`);
    await mkdir(dirname(target), { recursive: true });
    await rm(target, { force: true });
    return obtain(source.name, gguf, target, options);
  };
  return withLock(`weights-${id}`, fetchOnce, { onWait, signal });
}

async function obtain(name: string, gguf: Published, target: string, options: PullOptions): Promise<string> {
  const { onProgress, signal, stallMs = STALL_MS } = options;
  const part = `${target}.part`;
  const { bytes } = gguf;
  const fetching: FetchOptions = { bytes, stallMs, signal, onBytes: (done) => onProgress?.("weights", done, bytes) };
  const urls = [process.env.FOREDRAFT_GGUF_URL, ...gguf.urls].filter((url) => url !== undefined);
  const { pip } = gguf;
  const attempts = [
    ...urls.map((url) => ({ from: hostOf(url), fetch: () => download(url, part, fetching) })),
    { from: "pip", fetch: () => fromPip(pip, part, `${target}.pip`, fetching) },
  ];
  const answers: string[] = [];
  for (const attempt of attempts) {
    try {
      await attempt.fetch();
      await accept(part, target, gguf.sha256);
      return target;
    } catch (error) {
      if (signal?.aborted) {
        // Only a broken connection leaves its part for the next try; whoever stops it wants nothing left.
        await rm(part, { force: true });
        throw error;
      }
      // No other source could be written down either.
      if (error instanceof DiskFault) throw error;
      answers.push(`${attempt.from}: ${reason(error)}`);
    }
  }
  throw new WeightsUnavailable(
    `the weights of ${name} could not be fetched (${answers.join("; ")}). ` +
      "Try again with a network connection, or name the file where it is: FOREDRAFT_GGUF=FILE or FOREDRAFT_GGUF_URL=ADDRESS, " +
      `SHA-256 ${gguf.sha256}`,
  );
}

function hostOf(url: string): string {
  if (!URL.canParse(url)) throw new Error(`FOREDRAFT_GGUF_URL: "${url}" is no address`);
  return new URL(url).host;
}

/** The first line of what went wrong, with the cause that fetch hides. */
function reason(error: unknown): string {
  const e = error as Error & { cause?: { code?: string; message?: string } };
  return `${e.message.split("\n")[0]}${e.cause ? ` (${e.cause.code ?? e.cause.message})` : ""}`;
}

async function check(given: string, gguf: Published): Promise<string> {
  const sha256 = await sha256OfFile(given).catch((error: Error) => {
    throw new Error(`FOREDRAFT_GGUF: ${error.message}`);
  });
  if (sha256 !== gguf.sha256) throw new Error(`FOREDRAFT_GGUF: ${given} has another SHA-256 than ${gguf.sha256}`);
  return given;
}

async function isWhole(path: string, { bytes, sha256 }: Published): Promise<boolean> {
  return (await sizeOf(path)) === bytes && (await sha256OfFile(path)) === sha256;
}

/** null: there is no such file. */
async function sizeOf(path: string): Promise<number | null> {
  return stat(path).then(
    ({ size }) => size,
    () => null,
  );
}

async function accept(part: string, target: string, sha256: string): Promise<void> {
  if ((await sha256OfFile(part)) !== sha256) {
    await rm(part, { force: true });
    throw new Error("the file has another SHA-256 than the one pinned");
  }
  await rename(part, target);
}
