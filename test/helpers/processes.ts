import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { promisify } from "node:util";

/** Process ids of the children of `parent` that run or are stopped. */
export async function childrenOf(parent: number): Promise<number[]> {
  return (await running()).flatMap(({ pid, ppid }) => (ppid === parent ? [pid] : []));
}

/** The same without the shells that guard them (gpu-worker/process/guard.ts). */
export async function modelsOf(parent: number): Promise<number[]> {
  return (await running()).flatMap(({ pid, ppid, name }) => (ppid === parent && name !== "sh" ? [pid] : []));
}

export async function runs(process: number): Promise<boolean> {
  return (await running()).some(({ pid }) => pid === process);
}

async function running(): Promise<ProcessState[]> {
  return (await processes()).filter(({ state }) => !state.startsWith("Z"));
}

interface ProcessState {
  readonly pid: number;
  readonly ppid: number;
  /** Z: it has ended and waits for its parent to ask. */
  readonly state: string;
  readonly name: string;
}

/** As the kernel lists them, or, where it has no such files, the program ps. */
async function processes(): Promise<ProcessState[]> {
  const entries = await readdir("/proc").catch(() => null);
  if (entries === null) {
    const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,ppid=,stat=,comm="]);
    return stdout.split("\n").map((line) => {
      const [pid, ppid, state = "", path = ""] = line.trim().split(/\s+/);
      return { pid: Number(pid), ppid: Number(ppid), state, name: basename(path) };
    });
  }
  const states = entries
    .filter((name) => /^\d+$/.test(name))
    .map(async (name) => {
      const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
      // A name in brackets, which may hold anything, then the state and the parent.
      const [state = "", ppid] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const command = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
      return { pid: Number(name), ppid: Number(ppid), state, name: command };
    });
  return await Promise.all(states);
}
