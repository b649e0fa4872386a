import { readFileSync } from "node:fs";
import { familyOf } from "../processes.ts";

/** Linux counts in these, ms. */
const TICK_MS = 10;

/**
 * Reads how long workerd has computed so far, ms, all of its threads together. `root` is the process that started it.
 * Throws Error where the system does not tell.
 */
export function workerdClock(root: number | undefined): () => number {
  const pids = familyOf(root).flatMap(({ pid, program }) => (program === "workerd" ? [pid] : []));
  if (pids.length === 0) throw new Error("there is no workerd among the processes; this is measured on Linux only");
  return () => pids.reduce((sum, pid) => sum + ticksOf(pid), 0) * TICK_MS;
}

function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The program's name, in parentheses, may hold anything; user and system time are the 12th and 13th fields after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
