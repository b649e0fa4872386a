import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";

/** scripts/run.mjs in a folder where nothing is installed yet, with an npm that is told what to do. */

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-fresh-"));
  await mkdir(join(dir, "scripts"));
  await cp(join(ROOT, "scripts", "run.mjs"), join(dir, "scripts", "run.mjs"));
  await writeFile(join(dir, "scripts", "check.ts"), 'console.log("ran");');
  await writeFile(join(dir, "package-lock.json"), '{"packages": {"node_modules/a": {"version": "1.0.0"}}}');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Runs a command with npm replaced; null: there is no npm. `heard` takes what it writes to stderr. */
async function start(npm: string | null, heard: (words: string) => void = () => undefined) {
  if (npm !== null) await writeFile(join(dir, "npm.cjs"), npm);
  const { npm_execpath: _other, ...env } = process.env;
  const child = spawn(process.execPath, ["scripts/run.mjs", "check"], {
    cwd: dir,
    env: { ...env, ...(npm === null ? { PATH: dir } : { npm_execpath: join(dir, "npm.cjs") }) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stderr.on("data", (words) => heard(String(words)));
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { stdout, stderr, code };
}

/** Installs like npm ci, what was there goes first, the lockfile's copy is written last, once there is a file "go". */
const INSTALLS = `
  const { appendFileSync, cpSync, existsSync, mkdirSync, rmSync } = require("node:fs");
  appendFileSync("calls", process.argv[2] + ";");
  rmSync("node_modules", { recursive: true, force: true });
  const waiting = setInterval(() => {
    if (!existsSync("go")) return;
    clearInterval(waiting);
    mkdirSync("node_modules");
    cpSync("package-lock.json", "node_modules/.package-lock.json");
  }, 10);`;

test("several at once on a fresh clone install once, and all of them run", async () => {
  let waiting = 0;
  const heard = (words: string) => {
    if (words.includes("Waiting for another start") && ++waiting === 2) void writeFile(join(dir, "go"), "");
  };
  const runs = await Promise.all(Array.from({ length: 3 }, () => start(INSTALLS, heard)));
  expect(runs.map(({ stdout, code }) => [stdout, code])).toEqual(Array(3).fill(["ran\n", 0]));
  expect(await readFile(join(dir, "calls"), "utf8")).toBe("ci;");
});

test("where npm fails it says what is missing and what to do", async () => {
  const { stdout, stderr, code } = await start('console.error("npm error network"); process.exitCode = 7;');
  expect(stderr).toContain("npm error network");
  expect(stderr).toMatch(/packages named in package-lock\.json are not installed in node_modules.*code 7/);
  expect(stderr).toMatch(/network connection.*proxy.*copy node_modules/s);
  expect([stdout, code]).toEqual(["", 1]);
});

test("where there is no npm it says so", async () => {
  const { stderr, code } = await start(null);
  expect(stderr).toMatch(/could not be: there is no npm/);
  expect(code).toBe(1);
});
