#!/usr/bin/env node
/**
 * What every npm script goes through: install what is missing, find a Node that runs TypeScript, hand over.
 * Needs nothing but Node 20: on a fresh clone there is no node_modules yet, and install hooks do not run
 * (.npmrc has ignore-scripts). stdout belongs to the command; this file and npm write to stderr.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules", ".bin");

const programs = {
  start: ["--import", "./scripts/parent-watch.mjs", "scripts/start.ts"],
  deploy: ["scripts/deploy.ts"],
  keys: ["scripts/keys.ts"],
  check: ["scripts/check.ts"],
  bench: ["bench/commands/bench.ts"],
  data: ["bench/commands/data.ts"],
  eval: ["bench/commands/eval.ts"],
  tune: ["bench/commands/tune.ts"],
  report: ["bench/commands/report.ts"],
  ngram: ["train/ngram/cli.ts"],
  bundle: ["models/cli.ts"],
  adapt: ["adapt/cli.ts"],
  sim: ["test/sim/cli.ts"],
  chaos: ["test/chaos/cli.ts"],
  test: ["scripts/test.ts"],
};

/** Exit code of scripts/test.ts where nothing ran, as it was told what it does not know. */
const USAGE = 2;

const [command = "", ...args] = process.argv.slice(2);
const program = Object.hasOwn(programs, command) ? programs[command] : null;
if (program === null) fail(`usage: node scripts/run.mjs ${Object.keys(programs).join("|")} [arguments]`);

if (!isInstalled()) await install();
const node = findNode();
const counts = join(tmpdir(), `foredraft-counts-${process.pid}.json`);
const status = await run(
  node,
  [...program, ...args],
  {
    PATH: [dirname(node), bin, process.env.PATH].join(delimiter),
    ...(command === "test" ? { FOREDRAFT_TEST_COUNTS: counts } : {}),
  },
  command === "start" ? [0, 1, 2, "ipc"] : [0, 1, 2],
);
process.exitCode = command === "test" && !args.includes("--help") ? reportTests(status) : status;

/** Whether node_modules holds what the lockfile asks for; npm writes its own copy of the lock last. */
function isInstalled() {
  const wanted = readPackages(join(root, "package-lock.json"));
  const present = readPackages(join(root, "node_modules", ".package-lock.json"));
  if (wanted === null) fail("package-lock.json is missing or damaged");
  if (present === null) return false;
  for (const [path, entry] of Object.entries(wanted)) {
    const found = present[path];
    if (path === "" || entry.link === true) continue;
    if (found === undefined ? entry.optional !== true : found.version !== entry.version) return false;
  }
  return true;
}

function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8")).packages ?? null;
  } catch {
    return null;
  }
}

async function install() {
  const release = await installLock();
  // Another start may have done it meanwhile.
  if (isInstalled()) return release();
  console.error("Installing dependencies (npm ci) ...");
  // Under `npm run`, npm_execpath is that npm's own script; otherwise the npm in PATH.
  const npm = process.env.npm_execpath;
  const viaNode = npm !== undefined && /\.c?js$/.test(npm);
  const ciArgs = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  const code = viaNode
    ? await run(process.execPath, [npm, ...ciArgs], {}, [0, 2, 2])
    : await run("npm", ciArgs, {}, [0, 2, 2]);
  if (code !== 0) fail(notInstalled(code));
  if (!isInstalled()) fail("npm ci finished, but node_modules still differs from package-lock.json");
  release();
}

/** @param code npm's exit code, or 127 where there is no npm */
function notInstalled(code) {
  const words = code === 127 ? "there is no npm; it comes with Node" : `npm ci ended with code ${code}, see above`;
  return [
    `The packages named in package-lock.json are not installed in node_modules, and could not be: ${words}.`,
    "They come from the npm registry. Check the network connection, or npm's proxy settings, and run this again.",
    "Without a network, copy node_modules from a machine of the same kind where this version runs.",
  ].join("\n");
}

/**
 * One npm ci at a time in this folder. On Linux an abstract socket is the lock: nothing need be installed for it,
 * and it ends with its process. Elsewhere there is none. Resolves a function that gives the lock back.
 */
async function installLock() {
  const path = `\0foredraft-${createHash("sha256").update(root).digest("hex").slice(0, 16)}`;
  for (let tries = 0; ; tries++) {
    const server = createServer();
    try {
      await once(server.listen({ path }), "listening");
      return () => server.close();
    } catch (error) {
      if (process.platform !== "linux" || error.code !== "EADDRINUSE") return () => undefined;
    }
    if (tries === 0) console.error("Waiting for another start that is installing the dependencies ...");
    await sleep(200);
  }
}

/** A Node that strips types by itself: the locked one (linux-x64), else the one running this, if new enough. */
function findNode() {
  const locked = join(bin, "node");
  if (existsSync(locked) && process.platform === "linux" && process.arch === "x64") return locked;
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major >= 24 || (major === 22 && minor >= 19)) return process.execPath;
  fail(
    `This machine (${process.platform}-${process.arch}) has Node ${process.versions.node}; ` +
      "foredraft needs Node 22.19 or newer here (24 is best). Only on linux-x64 does it bring its own.",
  );
}

/**
 * Runs to the end; resolves the exit code. Signals that reach only this process are passed on. An "ipc"
 * channel in `stdio` tells the child when this process is gone (scripts/parent-watch.mjs).
 */
function run(file, argv, env, stdio) {
  return new Promise((done) => {
    const child = spawn(file, argv, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio,
    });
    const passOn = (signal) => child.kill(signal);
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
    for (const signal of signals) process.on(signal, passOn);
    const orphaned = watchParent(() => child.kill("SIGTERM"));
    const finish = (code) => {
      clearInterval(orphaned);
      for (const signal of signals) process.off(signal, passOn);
      done(code);
    };
    child.on("error", (error) => {
      console.error(`cannot run ${file}: ${error.message}`);
      finish(127);
    });
    child.on("exit", (code, signal) => finish(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}

/**
 * npm passes SIGINT and SIGTERM on to its child, which is this process because the scripts in package.json
 * begin with exec: a shell between them would keep SIGINT to itself. npm killed outright passes nothing on;
 * its child then gets another parent.
 */
function watchParent(stop) {
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event === undefined) return undefined;
  const timer = setInterval(() => {
    if (process.ppid !== parent) stop();
  }, 500);
  timer.unref();
  return timer;
}

/** The closing line any CI can read, and an exit code that agrees with it. */
function reportTests(code) {
  if (code === USAGE) return 1;
  let result = { passed: 0, failed: 1, skipped: 0 };
  try {
    result = JSON.parse(readFileSync(counts, "utf8"));
  } catch {
    console.error("the test run ended without a result");
  }
  rmSync(counts, { force: true });
  // Errors outside a test and an unclean end are failures that no test counts.
  if (code !== 0 && result.failed === 0) result.failed = 1;
  console.log(`${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`);
  return result.failed > 0 ? code || 1 : code;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
