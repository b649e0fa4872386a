import type { Stats } from "node:fs";
import { copyFile, link, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { guidePages } from "./guide.ts";
import { ROOT } from "./paths.ts";

/** Cloudflare refuses a larger static asset. */
const ASSET_BYTES = 25 << 20;
/** Tables that a bundle may have. */
const PAIR = "pair.safetensors";

/**
 * Lays out what the edge serves: the demo page at the root, guide and report beside it, and of each bundle what the
 * edge reads. Files that are there already stay.
 * @param bundles name -> compiled bundle directory
 * @param others whether other bundles lying there stay too, as another run may be serving them
 */
export async function assembleAssets(
  assetsDir: string,
  bundles: ReadonlyMap<string, string>,
  others: "keep" | "remove" = "keep",
): Promise<void> {
  const demo = join(ROOT, "edge", "demo");
  const wanted = new Map<string, string>();
  for (const file of await filesUnder(demo)) wanted.set(relative(demo, file), file);
  for (const name of ["report.html", join("docs", "architecture.svg")]) {
    wanted.set(name, join(ROOT, "docs", basename(name)));
  }
  for (const [name, dir] of bundles) {
    const files = [join(dir, "manifest.json"), join(dir, "tokenizer.json"), ...(await filesUnder(join(dir, "packs")))];
    if (await isThere(join(dir, PAIR))) files.push(join(dir, PAIR));
    for (const file of files) wanted.set(join("bundles", name, relative(dir, file)), file);
  }
  for (const [path, source] of wanted) await place(source, join(assetsDir, path));
  const pages = await guidePages();
  for (const [path, text] of pages) await placeText(text, join(assetsDir, path));
  for (const file of await filesUnder(assetsDir)) {
    const path = relative(assetsDir, file);
    const owner = /^bundles[/\\]([^/\\]+)/.exec(path)?.[1];
    const stale =
      !wanted.has(path) &&
      !pages.has(path) &&
      !path.endsWith(".part") &&
      (owner === undefined || others === "remove" || bundles.has(owner));
    if (stale) await rm(file, { force: true });
  }
}

/** A hard link where the file system allows it, else a copy; whole or not there at all. */
async function place(source: string, target: string): Promise<void> {
  const from = await stat(source);
  if (from.size > ASSET_BYTES)
    throw new Error(`${source} has ${from.size} bytes, a static asset at most ${ASSET_BYTES}`);
  const present = await stat(target).catch(() => null);
  if (present !== null && isSame(present, from)) return;
  await mkdir(dirname(target), { recursive: true });
  const part = `${target}.${process.pid}.part`;
  try {
    await link(source, part).catch(async () => {
      await copyFile(source, part);
      await utimes(part, from.atimeMs / 1000, from.mtimeMs / 1000);
    });
    await rename(part, target);
  } finally {
    // rename() of a link onto another link of the same file leaves both.
    await rm(part, { force: true });
  }
}

/** As `place`, of a text that is no file yet. */
async function placeText(text: string, target: string): Promise<void> {
  if ((await readFile(target, "utf8").catch(() => null)) === text) return;
  await mkdir(dirname(target), { recursive: true });
  const part = `${target}.${process.pid}.part`;
  await writeFile(part, text);
  await rename(part, target);
}

/** One file under two names, or a copy that nobody has written to since: its time would be its own. */
function isSame(target: Stats, source: Stats): boolean {
  if (target.ino === source.ino && target.dev === source.dev) return true;
  return target.size === source.size && Math.abs(target.mtimeMs - source.mtimeMs) < 1;
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

async function filesUnder(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
