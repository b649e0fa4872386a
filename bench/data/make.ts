import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { sha256 } from "../../models/cache.ts";
import { download } from "../../models/download.ts";
import rows from "./rows.json" with { type: "json" };
import type { Source } from "./sources.ts";

const STALL_MS = 30_000;

/** Which rows of a source are used, by number: to tune on, and to report. */
export interface Picked {
  readonly tune: readonly number[];
  readonly test: readonly number[];
}

export const PICKED: Readonly<Record<string, Picked>> = rows;

export interface MakeOptions {
  /** Where the set's file goes; what was fetched lies in `sources` there. */
  readonly dir: string;
  /** Where repositories are served from, as `<base>/<repository>/<commit>/<path>`. */
  readonly base: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Fetches a source, unless it is there, and writes its set as JSONL; returns the file's path.
 * Throws Error where the source cannot be had, or is not the one that the set was made from.
 */
export async function makeSet(source: Source, picked: Picked, { dir, base, signal }: MakeOptions): Promise<string> {
  const { name, repository, commit, path, bytes, sha256: expected } = source;
  const kept = join(dir, "sources");
  await mkdir(kept, { recursive: true });
  const file = join(kept, `${expected.slice(0, 16)}-${path.slice(path.lastIndexOf("/") + 1)}`);
  let content = await readFile(file).catch(() => null);
  if (content === null || sha256(content) !== expected) {
    const url = `${base}/${repository}/${commit}/${path}`;
    const part = `${file}.part`;
    await download(url, part, { bytes, stallMs: STALL_MS, onBytes: () => undefined, signal }).catch((error: Error) => {
      throw new Error(`${name}: ${url} could not be fetched: ${error.message}`);
    });
    content = await readFile(part);
    if (sha256(content) !== expected) {
      await rm(part);
      throw new Error(`${name}: ${url} has another SHA-256 than ${expected}`);
    }
    await rename(part, file);
  }
  const text = (path.endsWith(".gz") ? gunzipSync(content) : content).toString();
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const made = join(dir, `${name}.jsonl`);
  await writeFile(`${made}.part`, rowsOf(source, picked, lines));
  await rename(`${made}.part`, made);
  return made;
}

function rowsOf(source: Source, { tune, test }: Picked, lines: readonly string[]): string {
  const splits = new Map([...tune.map((n) => [n, "tune"] as const), ...test.map((n) => [n, "test"] as const)]);
  const used = source.rows(lines.map((line) => JSON.parse(line) as unknown)).filter(({ number }) => splits.has(number));
  if (used.length !== splits.size) throw new Error(`${source.name}: ${used.length} rows of ${splits.size} are there`);
  return used
    .map(({ number, category = source.name, ...rest }) =>
      JSON.stringify({ id: `${source.name}/${number}`, category, ...rest, split: splits.get(number) }),
    )
    .map((line) => `${line}\n`)
    .join("");
}
