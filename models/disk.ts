const FAULTS = {
  ENOSPC: "no space left for PATH: make room",
  EDQUOT: "the disk quota is used up for PATH: make room",
  EROFS: "PATH is on a read-only disk: make it writable",
  EACCES: "no permission to write PATH: give it",
} as const;

type FaultCode = keyof typeof FAULTS;

/** Something of the cache could not be written; says where, which the system's words for it leave out, and the cure. */
export class DiskFault extends Error {
  constructor(code: FaultCode, path: string, cause: unknown) {
    const words = FAULTS[code].replace("PATH", () => path);
    super(`${words}, or set FOREDRAFT_CACHE to a folder elsewhere (${code})`, { cause });
  }
}

/** A DiskFault where writing to `path` failed for such a reason, else null. */
export function diskFault(error: unknown, path: string): DiskFault | null {
  if (error instanceof DiskFault) return error;
  const { code, syscall } = error as NodeJS.ErrnoException;
  const isFault = (name: string | undefined): name is FaultCode => name !== undefined && Object.hasOwn(FAULTS, name);
  // A program that may not be started is another matter.
  return isFault(code) && syscall?.startsWith("spawn") !== true ? new DiskFault(code, path, error) : null;
}
