import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, inject, test, vi } from "vitest";
import { startEdge } from "../../scripts/edge.ts";
import { freePort } from "../../scripts/net.ts";
import { ROOT } from "../../scripts/paths.ts";
import { runs } from "../helpers/processes.ts";
import { eventually } from "./service.ts";

/** Whichever process is killed outright, none of the others stays behind on its port. */

/** Nothing listens there, which these tests do not need. */
const VARS = { DEFAULT_MODEL: "tiny", GPU_WORKER_URL: "http://127.0.0.1:9", GPU_WORKER_KEY: "a key of the tests' own" };

let child: ChildProcess | undefined;
afterEach(() => child?.kill("SIGKILL"));

/** A Node program that has said a line matching `pattern`. */
async function launch(args: readonly string[], pattern: RegExp) {
  const started = spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  child = started;
  const ended = once(started, "exit");
  let said = "";
  const matched = new Promise<RegExpExecArray>((resolve) => {
    started.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      const match = pattern.exec(said);
      if (match !== null) resolve(match);
    });
  });
  const failed = ended.then(() => Promise.reject(new Error(`it ended: ${said}`)));
  failed.catch(() => undefined);
  return { process: started, ended, match: await Promise.race([matched, failed]) };
}

const alive = (url: string) =>
  fetch(url).then(
    () => true,
    () => false,
  );
const gone = async (url: string) =>
  expect(
    await eventually(
      () => alive(url),
      (is) => !is,
    ),
  ).toBe(false);

async function start() {
  const port = String(await freePort("127.0.0.1", 0, "--port"));
  const gpuPort = String(await freePort("127.0.0.1", 0, "--gpu-port"));
  const args = ["scripts/start.ts", "--bundle", "tiny", "--port", port, "--gpu-port", gpuPort, "--threads", "1"];
  const started = await launch(args, /^Ready in/m);
  return { ...started, urls: [port, gpuPort].map((p) => `http://127.0.0.1:${p}/healthz`) };
}

test.each(["SIGKILL", "SIGTERM"] as const)(
  "npm start's process ended by %s leaves neither port taken",
  async (signal) => {
    const { process, ended, urls } = await start();
    for (const url of urls) expect(await alive(url)).toBe(true);
    process.kill(signal);
    await ended;
    for (const url of urls) await gone(url);
  },
);

/** A process that starts the edge and prints its address and the process in charge of workerd. */
async function startElsewhere() {
  const options = { ...inject("built"), host: "127.0.0.1", port: 0, vars: VARS };
  const code = `import { startEdge } from "./scripts/edge.ts";
    const { url, pid } = await startEdge(${JSON.stringify(options)});
    console.log(url + "/healthz " + pid);`;
  const started = await launch(["--input-type=module-typescript", "-e", code], /^(\S+) (\d+)$/m);
  const [, url = "", pid] = started.match;
  expect(await alive(url)).toBe(true);
  return { ...started, url, pid: Number(pid) };
}

test("the process in charge of workerd, killed, takes workerd with it", async () => {
  const edge = await startEdge({ ...inject("built"), host: "127.0.0.1", port: 0, vars: VARS, quiet: true });
  process.kill(edge.pid!, "SIGKILL");
  expect(await edge.ended).toBe("SIGKILL");
  await gone(`${edge.url}/healthz`);
  await edge.close();
});

test("so do all Node processes killed at once", async () => {
  const { process: starter, pid, url } = await startElsewhere();
  starter.kill("SIGKILL");
  process.kill(pid, "SIGKILL");
  await gone(url);
});

test("what killed processes leave in the folder for temporary files goes with the next start", async () => {
  const folder = await mkdtemp(join(tmpdir(), "e2e-temporary-"));
  const left = async () => (await readdir(folder)).filter((name) => name.startsWith("foredraft-"));
  vi.stubEnv("TMPDIR", folder);
  try {
    const { process: starter, pid, url } = await startElsewhere();
    starter.kill("SIGKILL");
    process.kill(pid, "SIGKILL");
    await gone(url);
    await eventually(
      () => runs(pid),
      (is) => !is,
    );
    expect(await left()).toHaveLength(1);
    const edge = await startEdge({ ...inject("built"), host: "127.0.0.1", port: 0, vars: VARS, quiet: true });
    const [own, ...others] = await left();
    expect(own).toContain(`-${edge.pid}-`);
    expect(others).toEqual([]);
    // Its files are there and nowhere else.
    expect(await readdir(folder)).toHaveLength(1);
    expect(await readdir(join(folder, own!))).not.toEqual([]);
    await edge.close();
    expect(await readdir(folder)).toEqual([]);
  } finally {
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true });
  }
});

test("an edge that cannot start says why and leaves nothing", async () => {
  const options = { ...inject("built"), host: "127.0.0.1", vars: VARS, quiet: true };
  const edge = await startEdge({ ...options, port: 0 });
  const taken = startEdge({ ...options, port: Number(new URL(edge.url).port) });
  await expect(taken).rejects.toThrow(/the edge could not be started: .*in use/i);
  await edge.close();
  await gone(`${edge.url}/healthz`);
});
