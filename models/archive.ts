import { mkdir, rm } from "node:fs/promises";
import { create, extract, list } from "tar";

/** What a package holds, a GGUF file included, comes to less. */
const MOST_BYTES = 64 * 2 ** 30;
const MOST_FILES = 256;

export function isArchive(path: string): boolean {
  return /\.(tar|tar\.gz|tgz)$/i.test(path);
}

/** Unpacks plain files into the new directory `dir`. Throws Error on a damaged or hostile archive, of which nothing is unpacked. */
export async function unpack(archive: string, dir: string): Promise<void> {
  await inspect(archive).catch((error: Error) => {
    throw new Error(`${archive} is no archive of a package: ${error.message}`);
  });
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await extract({ file: archive, cwd: dir, strict: true, preserveOwner: false, noChmod: true });
}

/** Throws Error naming what is wrong, before anything is written. */
async function inspect(archive: string): Promise<void> {
  let bytes = 0;
  let files = 0;
  let fault: string | null = null;
  await list({
    file: archive,
    strict: true,
    onReadEntry({ path, type, size }) {
      if (type === "Directory") return;
      bytes += size;
      files++;
      if (type !== "File" && type !== "OldFile") fault ??= `${path} is no plain file`;
      else if (files > MOST_FILES) fault ??= `more than ${MOST_FILES} files`;
      else if (bytes > MOST_BYTES) fault ??= `more than ${MOST_BYTES} bytes`;
      else if (path.split(/[\\/]/).includes("..")) fault ??= `${path} leads out of it`;
    },
  });
  if (fault !== null) throw new Error(fault);
  if (files === 0) throw new Error("it holds no file");
}

/** The same files give the same bytes. */
export async function archive(dir: string, files: readonly string[], target: string): Promise<void> {
  await create({ file: target, cwd: dir, gzip: { level: 6 }, portable: true, mtime: new Date(0) }, [...files]);
}
