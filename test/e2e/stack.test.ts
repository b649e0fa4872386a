import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";

const PROGRAM = `
import { ensureBundle } from "./models/bundle.ts";
import { startStack } from "./scripts/stack.ts";
const bundleDir = await ensureBundle("tiny");
const { edge } = await startStack({ bundle: "tiny", bundleDir, assetsDir: process.argv[1], threads: 1 });
console.log("ready", edge.url);
`;

test("a program with a stack of its own, as a benchmark is one, stops it in order when it is told to stop", async () => {
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-stack-"));
  const program = spawn(process.execPath, ["--input-type=module-typescript", "-e", PROGRAM, assetsDir], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    for await (const line of createInterface(program.stdout)) if (line.startsWith("ready")) break;
    program.kill("SIGTERM");
    // Killed outright it has no code, and workerd stays behind.
    expect(await once(program, "exit")).toEqual([143, null]);
  } finally {
    program.kill("SIGKILL");
    await rm(assetsDir, { recursive: true, force: true });
  }
});
