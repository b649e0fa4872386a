import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";

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
  const table = execFileSync("ps", ["-A", "-o", "pid=,ppid=,rss="], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number) as [pid: number, parent: number, rssKib: number]);
  return Object.fromEntries(
    Object.entries(roots).map(([name, root]) => {
      const family = new Set([root]);
      // Children come after their parents in no certain order.
      for (let before = 0; before < family.size; ) {
        before = family.size;
        for (const [pid, parent] of table) if (family.has(parent)) family.add(pid);
      }
      const own = table.filter(([pid]) => family.has(pid));
      const rssMib = Math.round(own.reduce((sum, [, , kib]) => sum + kib, 0) / 1024);
      return [name, { processes: own.length, rssMib, handles: handlesOf(own.map(([pid]) => pid)) }];
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
