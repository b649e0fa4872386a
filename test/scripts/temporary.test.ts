import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { temporaryDir } from "../../scripts/temporary.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "temporary-test-"));
  vi.stubEnv("TMPDIR", folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

test("a folder names its process, and removes those whose process is gone, and nothing else", async () => {
  const own = await temporaryDir("edge");
  expect(await readdir(own)).toEqual([]);
  const ended = spawnSync("true").pid;
  const stale = basename(own).replace(`-${process.pid}-`, `-${ended}-`);
  await mkdir(join(folder, stale, "inside"), { recursive: true });
  await writeFile(join(folder, stale, "inside", "file"), "text");
  const elsewhere = stale.replace(hostname().replaceAll(/[^A-Za-z0-9.]/g, "_"), "another.machine");
  const kept = [basename(own), elsewhere, `other-${ended}-edge-x`, "foredraft-edge-abc"];
  for (const name of kept.slice(1)) await mkdir(join(folder, name));
  const next = await temporaryDir("workerd");
  expect((await readdir(folder)).toSorted()).toEqual([...kept, basename(next)].toSorted());
});
