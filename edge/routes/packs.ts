import * as z from "zod";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import type { AppContext, Services } from "../app.ts";
import { readBytes } from "../http/body.ts";
import { checkRate } from "../http/limits.ts";
import { checkField, invalid } from "../openai/check.ts";
import type { StoredPack } from "../packs/pack-store.ts";
import { checkPack, TenantPacks } from "../packs/tenant-packs.ts";

const packName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "letters, digits, '.', '_' and '-'")
  .max(LIMITS.packNameLength)
  .refine((name) => !/^[0-9a-f]{64}$/.test(name), "a name that is no SHA-256 hash");

/** GET /v1/packs: what the caller has uploaded. */
export async function listPacksRoute(c: AppContext, services: Services): Promise<Response> {
  const packs = await packsOf(c, services);
  const manifests = await manifestsOf(services);
  return c.json({ object: "list", data: (await packs.list()).map((pack) => packBody(pack, manifests)) });
}

/** GET /v1/packs/NAME, also by hash. */
export async function packRoute(c: AppContext, services: Services): Promise<Response> {
  const packs = await packsOf(c, services);
  const pack = await packs.find(nameOf(c));
  if (pack === null) throw missing(c);
  return c.json(packBody(pack, await manifestsOf(services)));
}

/** PUT /v1/packs/NAME with the file: kept for the caller, in place of what had that name. */
export async function putPackRoute(c: AppContext, services: Services): Promise<Response> {
  const packs = await packsOf(c, services);
  const name = checkField("name", packName, nameOf(c));
  const manifests = await manifestsOf(services);
  const shipped = manifests.find((manifest) => manifest.packs.some((pack) => pack.name === name));
  if (shipped !== undefined) throw invalid("name", `model ${shipped.name} has a pack of that name`);
  const release = services.uploads.take(c.get("caller"));
  try {
    const bytes = await readBytes(c.req.raw, LIMITS.tenantPackBytes);
    const pack = await checkPack(name, bytes, manifests);
    if (!(await packs.put(pack, bytes))) {
      throw invalid("name", `there are ${LIMITS.tenantPacks} packs of this key, which is all it may have: remove one`);
    }
    return c.json(packBody({ ...pack, created: Math.floor(services.date() / 1000) }, manifests));
  } finally {
    release();
  }
}

/** DELETE /v1/packs/NAME, also by hash; DELETE /v1/packs: all of them. */
export async function removePackRoute(c: AppContext, services: Services): Promise<Response> {
  const packs = await packsOf(c, services);
  const name = (await packs.find(nameOf(c)))?.name;
  if (name === undefined || (await packs.remove(name)) === 0) throw missing(c);
  return c.json({ object: "pack", name, deleted: true });
}

export async function removePacksRoute(c: AppContext, services: Services): Promise<Response> {
  const packs = await packsOf(c, services);
  return c.json({ object: "list", deleted: await packs.remove(null) });
}

/** Throws StepError. */
async function packsOf(c: AppContext, { packs, loadedPacks, limiter, config }: Services): Promise<TenantPacks> {
  await checkRate(limiter, c.get("caller"), config);
  const { memoryName } = c.get("caller");
  if (memoryName === null || packs === null) {
    throw new StepError("unsupported", "No packs can be uploaded here: it needs a deployment with API keys.");
  }
  return new TenantPacks(memoryName, packs(memoryName), loadedPacks);
}

async function manifestsOf({ bundles }: Services): Promise<BundleManifest[]> {
  return await Promise.all(bundles.names.map((name) => bundles.manifest(name)));
}

function packBody(pack: StoredPack, manifests: readonly BundleManifest[]) {
  const { name, sha256, bytes, order, ngrams, created } = pack;
  const models = manifests.filter((manifest) => manifest.tokenizer.sha256 === pack.tokenizer);
  return { object: "pack", name, sha256, bytes, order, ngrams, created, models: models.map((model) => model.name) };
}

function nameOf(c: AppContext): string {
  return c.req.param("name") ?? "";
}

function missing(c: AppContext): StepError {
  return new StepError("not_found", `There is no pack '${nameOf(c)}' of this key.`, "name");
}
