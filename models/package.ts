import { readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import * as z from "zod";
import type { FileEntry } from "../shared/manifest.ts";
import { archive, isArchive, unpack } from "./archive.ts";
import { cacheDir, sha256OfFile } from "./cache.ts";
import { freeName } from "./given.ts";
import { withLock } from "./lock.ts";
import { type BundleSource, parseSource } from "./source.ts";

/*
 * A package: what models/NAME/ holds of a model, in a directory or archive of its own, to be handed on. PACKAGE_FILE names
 * every other file with size and hash.
 */
const PACKAGE_FILE = "foredraft.json";
const FORMAT = 1;
/** Packs in a folder, all else beside one another. */
const PLACE = /^(packs\/)?[A-Za-z0-9][A-Za-z0-9._-]*$/;

const schema = z.strictObject({
  format: z.literal(FORMAT),
  files: z
    .array(
      z.strictObject({
        path: z.string().regex(PLACE),
        bytes: z.int().min(0),
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
      }),
    )
    .max(256),
});

/** The source of a package, all of whose files have been hashed. Throws Error naming the file that is missing, changed or one too many. */
export async function packageSource(path: string): Promise<BundleSource> {
  const folder = isArchive(path) ? await unpacked(path) : path;
  const named = await checkPackage(folder);
  const where = join(path, "source.json");
  const text = await readFile(join(folder, "source.json"), "utf8").catch(() => null);
  if (text === null) throw new Error(`${where} is missing`);
  const source = parseSource(text, where);
  const parts = [source.heads, "file" in source.gguf ? source.gguf.file : null];
  const missing = parts.find((part) => part !== null && !named.has(part));
  if (missing !== undefined) throw new Error(`${where} names ${missing}, which is not in it`);
  return { ...source, name: await freeName(source.name, "package"), folder };
}

/** The files that it names, all of them as it says. */
async function checkPackage(folder: string): Promise<ReadonlySet<string>> {
  const path = join(folder, PACKAGE_FILE);
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) throw new Error(`${folder} is no package: it has no ${PACKAGE_FILE}`);
  const parsed = schema.safeParse(parseJson(text));
  if (!parsed.success) throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
  const named = new Set(parsed.data.files.map((file) => file.path));
  for (const file of parsed.data.files) {
    const found = join(folder, file.path);
    const size = await stat(found).then(
      (stats) => stats.size,
      () => null,
    );
    if (size === null) throw new Error(`${found} is missing, which ${PACKAGE_FILE} names`);
    if (size !== file.bytes || (await sha256OfFile(found)) !== file.sha256) {
      throw new Error(`${found} is not the file that ${PACKAGE_FILE} names: its size or SHA-256 is another`);
    }
  }
  const more = (await filesOf(folder)).find((file) => !named.has(file));
  if (more !== undefined) throw new Error(`${join(folder, more)} is not named in ${PACKAGE_FILE}`);
  return named;
}

/** Where an archive's files lie, unpacked once for each content. */
async function unpacked(path: string): Promise<string> {
  const hash = await sha256OfFile(path).catch(() => {
    throw new Error(`there is no file ${path}`);
  });
  const target = join(cacheDir(), "packages", hash.slice(0, 16));
  const isThere = () =>
    stat(target)
      .then(() => true)
      .catch(() => false);
  await withLock(`package-${hash.slice(0, 16)}`, async () => {
    if (await isThere()) return;
    const work = `${target}.part`;
    await unpack(path, work);
    await rename(work, target);
  });
  return await rootOf(target);
}

/** An archive made of a directory has it in front of all its files. */
async function rootOf(dir: string): Promise<string> {
  const [first, ...more] = await readdir(dir, { withFileTypes: true });
  return first !== undefined && more.length === 0 && first.isDirectory() ? join(dir, first.name) : dir;
}

/** Writes PACKAGE_FILE over what lies in `dir`, and an archive of all beside it, whose path it returns. */
export async function sealPackage(dir: string): Promise<string> {
  const paths = await filesOf(dir);
  if (!paths.includes("source.json")) throw new Error(`${dir} has no source.json`);
  const misplaced = paths.find((path) => !PLACE.test(path));
  if (misplaced !== undefined) throw new Error(`${join(dir, misplaced)} has no place in a package`);
  const files: FileEntry[] = [];
  for (const path of paths) {
    const { size } = await stat(join(dir, path));
    files.push({ path, bytes: size, sha256: await sha256OfFile(join(dir, path)) });
  }
  await writeFile(join(dir, PACKAGE_FILE), `${JSON.stringify({ format: FORMAT, files }, null, 2)}\n`);
  const { name } = parseSource(await readFile(join(dir, "source.json"), "utf8"), join(dir, "source.json"));
  const target = join(dirname(dir), `${name}.tar.gz`);
  await archive(dir, [PACKAGE_FILE, ...paths], `${target}.part`);
  await rename(`${target}.part`, target);
  return target;
}

/** Every file of a package but PACKAGE_FILE and what begins with a dot, relative to it. */
async function filesOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => {
    throw new Error(`there is no directory ${dir}`);
  });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .filter((path) => path !== PACKAGE_FILE && !path.startsWith("."))
    .sort();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
