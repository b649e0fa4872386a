import { readdirSync } from "node:fs";
import { familyOf } from "../processes.ts";

/** What a process and those it started hold. */
export interface Holding {
  readonly processes: number;
  /** Resident memory, MiB. */
  readonly rssMib: number;
  /** Open files and sockets; null where the system does not list them. */
  readonly handles: number | null;
}

/** By name, from the process ids of their roots. */
export function holdings(roots: Readonly<Record<string, number | undefined>>): Record<string, Holding> {
  return Object.fromEntries(
    Object.entries(roots).map(([name, root]) => {
      const own = familyOf(root);
      const rssMib = Math.round(own.reduce((sum, { rssKib }) => sum + rssKib, 0) / 1024);
      return [name, { processes: own.length, rssMib, handles: handlesOf(own.map(({ pid }) => pid)) }];
    }),
  );
}

function handlesOf(pids: readonly number[]): number | null {
  try {
    return pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);
  } catch {
    return null;
  }
}
