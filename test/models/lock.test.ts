import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withLock } from "../../models/lock.ts";
import { ROOT } from "../../scripts/paths.ts";

const kept = process.env.FOREDRAFT_CACHE;
let cache = "";
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "foredraft-lock-"));
  process.env.FOREDRAFT_CACHE = cache;
});
afterEach(async () => {
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  await rm(cache, { recursive: true, force: true });
});

/** Another process that holds the lock until it is killed. */
async function holder(name: string) {
  const code = `import { withLock } from "./models/lock.ts";
    await withLock("${name}", async () => { console.log("held"); setInterval(() => undefined, 1000); await new Promise(() => undefined); });`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", code], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

test("tasks under one lock run one after the other, under two at once", async () => {
  const events: string[] = [];
  const task = (name: string) => async () => {
    events.push(`${name} begins`);
    await new Promise((done) => setTimeout(done, 20));
    events.push(`${name} ends`);
    return name;
  };
  expect(await Promise.all([withLock("x", task("a")), withLock("x", task("b"))])).toEqual(["a", "b"]);
  const [first] = events[0]!.split(" ");
  expect(events.map((event) => event.startsWith(first!))).toEqual([true, true, false, false]);
  await withLock("x", () => withLock("y", task("c")));
});

test("the lock of a task that failed is free", async () => {
  await expect(withLock("x", () => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
  expect(await withLock("x", async () => 1)).toBe(1);
});

test("a waiting caller is told for which process, and can be called off", async () => {
  const child = await holder("x");
  const stopping = new AbortController();
  const told: string[] = [];
  const onWait = (who: string) => {
    told.push(who);
    stopping.abort();
  };
  await expect(withLock("x", async () => 1, { onWait, signal: stopping.signal })).rejects.toThrow(/abort/i);
  expect(told).toEqual([`process ${child.pid}`]);
  child.kill("SIGKILL");
});

test("the lock of a killed process is free", async () => {
  const child = await holder("x");
  const waiting = withLock("x", async () => 1, { onWait: () => child.kill("SIGKILL") });
  expect(await waiting).toBe(1);
});
