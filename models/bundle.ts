import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type BundleManifest, PRECISIONS, type Precision } from "../shared/manifest.ts";
import { cacheDir, sha256, sha256OfFile } from "./cache.ts";
import { calibrationOf } from "./calibration.ts";
import { diskFault } from "./disk.ts";
import { givenSource, isGguf, isGiven, withHeads } from "./given.ts";
import { fromHub, HUB } from "./hub.ts";
import { confirm, examine, type State, seal } from "./intact.ts";
import { withLock } from "./lock.ts";
import { compile, optionalFiles } from "./make.ts";
import { packageSource } from "./package.ts";
import { packFiles } from "./packs.ts";
import { type Progress, type PullOptions, pull, WeightsUnavailable } from "./pull.ts";
import { type BundleSource, headsPathOf, readSource } from "./source.ts";

export { WeightsUnavailable } from "./pull.ts";

/** Raised whenever the same inputs compile to something else, so that cached bundles are made anew. */
const COMPILER_VERSION = 9;

export interface EnsureOptions {
  /** A file of draft heads for a GGUF file that has none (given.ts). */
  readonly heads?: string | undefined;
  /** Another layout of the weights than the bundle's own. */
  readonly precision?: Precision | undefined;
  /** What is to run it, where no precision is named: graphs of float16 are for GPUs, the bundle's own precision is for CPUs. */
  readonly provider?: string | null | undefined;
  readonly onProgress?: Progress;
  /** What a user should know: damage found, a wait. Left out: stderr. */
  readonly onNotice?: (line: string) => void;
  readonly force?: boolean;
  /** Hashes every file; without it the graphs only where they have changed since they were last hashed. */
  readonly thorough?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * The directory of the compiled bundle `model`, a committed name, a GGUF file, a package or `hf:OWNER/REPO/FILE` of either,
 * made where it is missing or damaged or its inputs have changed:
 * weights fetched and checked, graphs compiled, everything moved into place at once. One process makes it, others
 * that want it wait. Throws WeightsUnavailable where the weights cannot be had, DiskFault where the cache cannot be
 * written.
 */
export async function ensureBundle(model: string, options: EnsureOptions = {}): Promise<string> {
  const { force = false, thorough = false, onNotice = (line: string) => console.error(line), signal } = options;
  const given = { onProgress: options.onProgress, onNotice, signal };
  const found = await sourceOf(model, given);
  const source = options.heads === undefined ? found : await withHeads(found, options.heads);
  const { name } = source;
  const onGpu = (options.provider ?? "cpu") !== "cpu";
  const precision = options.precision ?? (onGpu ? "fp16" : source.precision);
  if (!PRECISIONS.includes(precision)) throw new Error(`precision is one of ${PRECISIONS.join(", ")}`);
  const entry = precision === source.precision ? name : `${name}-${precision}`;
  const target = join(cacheDir(), "bundles", entry);
  const inputs = await inputsOf(source, precision);
  const calibration = await calibrationOf(source);
  const look = () => examine(target, inputs, thorough);
  // A calibration is fitted again more often than graphs change, and is in the manifest alone.
  const isDone = ({ manifest }: State) =>
    !force && manifest !== null && JSON.stringify(manifest.calibration ?? null) === JSON.stringify(calibration);
  const startedAt = new Date();
  if (isDone(await look())) {
    await confirm(target, startedAt);
    return target;
  }
  const mend = async () => {
    // Somebody else may have made it meanwhile.
    const state = await look();
    const { manifest, damage } = state;
    if (isDone(state)) return;
    if (manifest !== null && !force) return seal(target, { ...manifest, calibration }, inputs);
    if (damage.length > 0) onNotice(`bundle ${entry} is damaged (${damage.join(", ")}): making it again`);
    try {
      await make(source, precision, target, inputs, { ...options, onNotice });
    } catch (error) {
      throw damage.length > 0 && !signal?.aborted ? inSpite(error as Error, entry, damage) : error;
    }
  };
  const onWait = (holder: string) => onNotice(`waiting for ${holder}, which is making bundle ${entry}`);
  await withLock(`bundle-${entry}`, mend, { onWait, signal });
  return target;
}

/** The name of the bundle in `dir`, which may be of another precision than its own. */
export async function bundleName(dir: string): Promise<string> {
  return (JSON.parse(await readFile(join(dir, "manifest.json"), "utf8")) as BundleManifest).name;
}

/** What `model` stands for: a committed name, a GGUF file, a package, or one of these on the Hub. */
export async function sourceOf(model: string, options: PullOptions): Promise<BundleSource> {
  if (!isGiven(model)) return await readSource(model);
  const path = model.startsWith(HUB) ? await fromHub(model.slice(HUB.length), options) : model;
  return isGguf(path) ? await givenSource(path, options) : await packageSource(path);
}

/** To be called under the bundle's lock: what an earlier process left of its attempt is removed. */
async function make(
  source: BundleSource,
  precision: Precision,
  target: string,
  inputs: string,
  options: EnsureOptions,
): Promise<void> {
  const { onProgress = () => undefined, onNotice, signal } = options;
  const weights = await pull(source, { onProgress, onNotice, signal });
  const work = join(dirname(target), `.making-${basename(target)}`);
  const old = join(dirname(target), `.old-${basename(target)}`);
  const clear = () => Promise.all([work, old].map((dir) => rm(dir, { recursive: true, force: true })));
  try {
    await clear();
    await mkdir(work, { recursive: true });
    const manifest = await compile(source, precision, weights, work, onProgress, signal);
    await seal(work, manifest, inputs);
    // A directory cannot be replaced by another in one go.
    await rename(target, old).catch(ignoreMissing);
    await rename(work, target);
  } catch (error) {
    throw diskFault(error, work) ?? error;
  } finally {
    await clear();
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** The same kind of error, with what was wrong before. */
function inSpite(error: Error, entry: string, damage: readonly string[]): Error {
  const message = `bundle ${entry} is damaged (${damage.join(", ")}) and cannot be made again: ${error.message}`;
  return error instanceof WeightsUnavailable ? new WeightsUnavailable(message) : new Error(message, { cause: error });
}

/** What decides the compiled graphs, as one hash: the committed inputs, the precision, the compiler. */
export async function inputsOf(source: BundleSource, precision: Precision): Promise<string> {
  const dir = source.folder;
  const made = [`compiler ${COMPILER_VERSION}`, precision];
  const heads = headsPathOf(source);
  if (dir === null) {
    const hashes = heads === null ? [] : [await sha256OfFile(heads)];
    return sha256([...made, JSON.stringify(source), ...hashes].join("\n"));
  }
  const files = [
    ...(source.heads === null ? [] : [source.heads]),
    ...(await optionalFiles(dir)),
    "source.json",
    ...("file" in source.gguf ? [source.gguf.file] : []),
    ...(await packFiles(dir, [".fdlm", ".json"])),
  ];
  const hashes = await Promise.all(files.map(async (f) => `${f} ${await sha256OfFile(join(dir, f))}`));
  return sha256([...made, ...hashes].join("\n"));
}
