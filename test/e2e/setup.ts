import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { ensureBundle } from "../../models/bundle.ts";
import { assembleAssets } from "../../scripts/assets.ts";
import { buildEdge } from "../../scripts/edge.ts";

/** What every end-to-end test starts from, made once per run: the built Worker and its assets. */
export interface Built {
  readonly workerDir: string;
  readonly assetsDir: string;
}

declare module "vitest" {
  export interface ProvidedContext {
    built: Built;
  }
}

/** Builds the Worker and compiles the committed bundle `tiny`; no network is needed. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), "foredraft-e2e-"));
  const built: Built = { workerDir: join(dir, "worker"), assetsDir: join(dir, "assets") };
  await assembleAssets(built.assetsDir, new Map([["tiny", await ensureBundle("tiny")]]));
  await buildEdge(built.workerDir, built.assetsDir);
  project.provide("built", built);
  return () => rm(dir, { recursive: true, force: true });
}
