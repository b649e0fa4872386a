import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";

/** Every npm script explains itself, and says in one line what it does not understand. */

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Half of what these commands take is to compile what the one before has compiled. */
const compiled = mkdtempSync(join(tmpdir(), "foredraft-compiled-"));
const env = { ...process.env, NODE_COMPILE_CACHE: compiled };
afterAll(() => rmSync(compiled, { recursive: true, force: true }));

/** As npm runs it: through scripts/run.mjs. */
async function npmRun(...args: string[]): Promise<Ended> {
  try {
    const options = { cwd: ROOT, env };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ["scripts/run.mjs", ...args], options);
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as Ended;
  }
}

const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: Record<string, string> };
const cli = readFileSync(join(ROOT, "bench", "commands", "bench.ts"), "utf8");
const BENCHES = [...cli.matchAll(/^ {2}(\w+): \(\) => import\(/gm)].map(([, name]) => `bench ${name}`);

const HELP = [...Object.keys(scripts), ...BENCHES, "eval --suite", "ngram train"];

test("the kinds of bench are found", () => {
  expect(BENCHES).toContain("bench decode");
});

test.concurrent.each(HELP)("%s --help", async (line) => {
  const [command = "", ...args] = line.split(" ");
  const { code, stdout, stderr } = await npmRun(command, ...args, "--help");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain(["start", "test"].includes(command) ? `npm ${command} -- ` : `npm run ${command}`);
});

const MISTAKES = [
  "start --frob",
  "start tiny",
  "start --port eighty",
  "start --rtt far",
  "start --workers 0",
  "start --port 0 --gpu-port 0 --model tiny",
  "start --port 0 --gpu-port 0 --model nothing.gguf",
  "start --port 0 --gpu-port 0 --model tiny --model nothing.gguf",
  // Before the first is compiled.
  "start --port 0 --gpu-port 0 --model test/models/small/llama.gguf --model nothing.gguf",
  "start --port 0 --gpu-port 0 --model tiny --model tiny",
  "start --port 0 --gpu-port 0 --model nothing.gguf --bundle tiny",
  "start --port 0 --gpu-port 0 --bundle tiny --pack nothing.txt",
  "test --frob",
  "deploy",
  "deploy --var GPU_WORKER_URL:https://gpu.example,http://[::1]:8788",
  "bundle --frob",
  "bundle nothing",
  "bundle nothing.gguf",
  "bundle tiny other",
  "bundle tiny --precision int3",
  "bundle ./nothing",
  "bundle nothing.tar.gz",
  "bundle nothing --seal",
  "bundle tiny --heads nothing.safetensors",
  "start --port 0 --gpu-port 0 --heads nothing.safetensors",
  "adapt",
  "adapt --model tiny --prompts p --out o",
  "adapt --model nothing.gguf --prompts p --out o --minutes 0",
  "bench other",
  "sim --seed x",
  "chaos --workers 0",
  "bench agree --model nothing.gguf",
  "bench calibrate",
  "bench decode --rounds x",
  "bench gpu --provider abacus",
  "bench gpu --minutes 0",
  "bench distance --rtt near",
  "bench hostile --rounds x",
  "bench distance --placements cpu",
  "bench neural --frob",
  "bench rescore --alpha 2",
  "data",
  "eval",
  "eval --frob",
  "eval --replay trace --rtt 40",
  "eval --prompts rows --rtt 40 --step-ms 5",
  "eval --suite other",
  "tune --alphas x",
  "report --frob",
  "ngram",
  "ngram train --frob",
  "keys",
  "keys other",
  "keys add",
  "keys add --name ann --streams many",
  "keys add --name ann --expires soon",
  "keys revoke",
  "keys list --url http://127.0.0.1:9",
  "keys usage ann --url nowhere",
  "check --frob",
];

test.concurrent.each(MISTAKES)("%s is a mistake, told in one line", async (line) => {
  const { code, stdout, stderr } = await npmRun(...line.split(" "));
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^.+\n$/);
  expect(stderr).not.toMatch(/\bat .*:\d+/);
});
