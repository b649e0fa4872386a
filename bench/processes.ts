import { execFileSync } from "node:child_process";

export interface RunningProcess {
  readonly pid: number;
  /** Resident memory, KiB. */
  readonly rssKib: number;
  /** Name of its program. */
  readonly program: string;
}

/** A process and all that it has started, as they run now. */
export function familyOf(root: number | undefined): RunningProcess[] {
  const table = execFileSync("ps", ["-A", "-o", "pid=,ppid=,rss=,comm="], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((line) => {
      const [pid, parent, rssKib, ...program] = line.trim().split(/\s+/);
      return { pid: Number(pid), parent: Number(parent), rssKib: Number(rssKib), program: program.join(" ") };
    });
  const family = new Set([root]);
  // Children come after their parents in no certain order.
  for (let before = 0; before < family.size; ) {
    before = family.size;
    for (const { pid, parent } of table) if (family.has(parent)) family.add(pid);
  }
  return table.filter(({ pid }) => family.has(pid));
}
