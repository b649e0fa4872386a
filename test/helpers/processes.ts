import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";

/** Process ids of the children of `parent` that run or are stopped. */
export async function childrenOf(parent: number): Promise<number[]> {
  const all = await processes();
  return all.flatMap(({ pid, ppid, state }) => (ppid === parent && !state.startsWith("Z") ? [pid] : []));
}

interface ProcessState {
  readonly pid: number;
  readonly ppid: number;
  /** Z: it has ended and waits for its parent to ask. */
  readonly state: string;
}

/** As the kernel lists them, or, where it has no such files, the program ps. */
async function processes(): Promise<ProcessState[]> {
  const entries = await readdir("/proc").catch(() => null);
  if (entries === null) {
    const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,ppid=,stat="]);
    return stdout.split("\n").map((line) => {
      const [pid, ppid, state = ""] = line.trim().split(/\s+/);
      return { pid: Number(pid), ppid: Number(ppid), state };
    });
  }
  const states = entries
    .filter((name) => /^\d+$/.test(name))
    .map(async (name) => {
      const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
      // A name in brackets, which may hold anything, then the state and the parent.
      const [state = "", ppid] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return { pid: Number(name), ppid: Number(ppid), state };
    });
  return await Promise.all(states);
}
