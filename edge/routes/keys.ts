import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import { authenticateAdmin, hashOf } from "../http/auth.ts";
import { readJson } from "../http/body.ts";
import { checkRate } from "../http/limits.ts";
import type { Keys, ListedKey } from "../keys/keys.ts";
import { keyBody, keyId, newKey, randomKey, recordOf, usageBody } from "../keys/record.ts";
import { asObject, check, invalid } from "../openai/check.ts";
import type { AppContext, Services } from "../services.ts";

/** GET /admin/keys: every key, the oldest first. */
export async function listKeysRoute(c: AppContext, services: Services): Promise<Response> {
  const keys = await keysFor(c, services);
  const records = await keys.store.directory().list();
  return c.json({ object: "list", data: records.map((record) => keyBody(record, services.date())) });
}

/** POST /admin/keys: a new key; this answer alone has it in clear. */
export async function addKeyRoute(c: AppContext, services: Services): Promise<Response> {
  const keys = await keysFor(c, services);
  const now = services.date();
  const body = check(newKey, asObject(await readJson(c.req.raw)));
  if (body.expires_at != null && Date.parse(body.expires_at) <= now) throw invalid("expires_at", "it is past");
  const key = randomKey();
  const hash = await hashOf(key);
  const record = recordOf(body, keyId(hash), now);
  const added = await keys.add(hash, record);
  if (added === "name taken") throw invalid("name", `there is an active key named '${record.name}'`);
  if (added === "full") throw new StepError("overloaded", `There are ${LIMITS.keys} keys, as many as are kept.`);
  return c.json({ ...keyBody(record, now), key });
}

/** DELETE /admin/keys/:key, by id or name. */
export async function revokeKeyRoute(c: AppContext, services: Services): Promise<Response> {
  const keys = await keysFor(c, services);
  const record = await keys.revoke(await listedKey(c, keys));
  return c.json(keyBody(record, services.date()));
}

/** GET /admin/keys/:key/usage */
export async function keyUsageRoute(c: AppContext, services: Services): Promise<Response> {
  const keys = await keysFor(c, services);
  const { hash, record } = await listedKey(c, keys);
  const days = await keys.store.account(hash).usage();
  return c.json({ object: "usage", key: keyBody(record, services.date()), days: days.map(usageBody) });
}

/** GET /v1/usage: what the caller's own key allows and has used. */
export async function usageRoute(c: AppContext, services: Services): Promise<Response> {
  await checkRate(services.limiter, c.get("caller"), services.config);
  const { key } = c.get("caller");
  if (key === null || services.keys === null) {
    throw new StepError("unsupported", "What is used is kept of keys made with `npm run keys` alone.");
  }
  const days = await services.keys.store.account(key.hash).usage();
  return c.json({ object: "usage", key: keyBody(key.record, services.date()), days: days.map(usageBody) });
}

async function keysFor(c: AppContext, { config, keys }: Services): Promise<Keys> {
  await authenticateAdmin(c.req.raw.headers, config);
  if (keys === null) throw new StepError("unsupported", "This deployment stores no keys.");
  return keys;
}

async function listedKey(c: AppContext, keys: Keys): Promise<ListedKey> {
  const wanted = c.req.param("key") ?? "";
  const found = await keys.store.directory().find(wanted);
  if (found === null) throw new StepError("not_found", `There is no key '${wanted}'.`);
  return found;
}
