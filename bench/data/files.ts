import { stat } from "node:fs/promises";
import { join } from "node:path";
import { cacheDir } from "../../models/cache.ts";

/** Where evaluation sets lie unless an option says otherwise. */
export function evaluationDir(): string {
  return join(cacheDir(), "data");
}

/** The file of a set: JSONL, as `npm run data` makes it, or packed by xz. Throws Error where there is neither. */
export async function fileOfSet(dir: string, name: string): Promise<string> {
  const candidates = [`${name}.jsonl`, `${name}.jsonl.xz`].map((file) => join(dir, file));
  for (const path of candidates) {
    const found = await stat(path).catch(() => null);
    if (found?.isFile()) return path;
  }
  throw new Error(
    `there is no ${candidates.join(" or ")}: npm run data makes the sets that may be fetched (--data DIR)`,
  );
}
