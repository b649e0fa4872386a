import { execFileSync } from "node:child_process";
import { basename, isAbsolute } from "node:path";
import { ROOT } from "../scripts/paths.ts";

/** What a reader needs to make the same numbers again. */
export interface Provenance {
  readonly command: string;
  /** Of the checkout that ran it. */
  readonly commit: string;
  /** Whether tracked files differed from that commit. */
  readonly changed_files: boolean;
  /** Of the confidence intervals; null where nothing was drawn. */
  readonly seed: number | null;
  readonly node: string;
  /** ISO 8601. */
  readonly started: string;
}

/** To be called when a run starts: what is checked out may change before it ends. @param script the npm script that is running with this process's own arguments, as "eval" */
export function provenance(script: string, seed: number | null): Provenance {
  const git = (...args: string[]) => execFileSync("git", args, { cwd: ROOT, encoding: "utf8" }).trim();
  return {
    command: npmCommand(script),
    commit: git("rev-parse", "HEAD"),
    changed_files: git("status", "--porcelain", "--untracked-files=no") !== "",
    seed,
    node: process.version,
    started: new Date().toISOString(),
  };
}

/** As a reader would give it: where files lay on this machine is of no use to anybody. */
export function npmCommand(script: string, args: readonly string[] = process.argv.slice(2)): string {
  return ["npm run", script, "--", ...args.map((arg) => (isAbsolute(arg) ? basename(arg) : arg))].join(" ");
}
