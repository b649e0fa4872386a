import { StepError } from "../../shared/errors.ts";
import type { Config } from "../config.ts";
import type { Keys } from "../keys/keys.ts";
import { isStoredKey, type KeyRecord, keyId } from "../keys/record.ts";
import { sha256Hex } from "../sha256.ts";

/** Who calls. Holds no key, only what was made of its hash. */
export interface Caller {
  /** What limits are counted by. */
  readonly id: string;
  /** Names what is remembered of this key alone; null without a key. */
  readonly memoryName: string | null;
  /** The caller's key where it is a stored one, with limits of its own. */
  readonly key: StoredKey | null;
}

export interface StoredKey {
  /** SHA-256, hex. */
  readonly hash: string;
  readonly record: KeyRecord;
}

/** A caller's name for the engine, which is told neither keys nor addresses. */
export async function tenantOf({ id }: Caller): Promise<string> {
  return (await hashOf(`tenant ${id}`)).slice(0, 32);
}

/**
 * A bearer key must be stored or one of the configuration's. Where anybody may call, whoever has no key is anonymous, told
 * apart by address where that can be trusted; OpenAI's clients always send something, so only what looks like a key from
 * here is held to be one. Throws StepError: "invalid_api_key", or "overloaded" where stored keys cannot be asked.
 */
export async function authenticate(headers: Headers, config: Config, keys: Keys | null): Promise<Caller> {
  const key = bearerKey(headers);
  if (key !== null) {
    const hash = await hashOf(key);
    if (isAmong(hash, config.apiKeyHashes)) return await holderOf(hash, null);
    if (keys !== null && isStoredKey(key)) return await holderOf(hash, await keys.lookUp(hash));
  }
  if (!config.anonymous) {
    const words = key === null ? "Send an API key: Authorization: Bearer <key>." : "The API key is not valid.";
    throw new StepError("invalid_api_key", words);
  }
  const address = config.trustConnectingIp ? headers.get("cf-connecting-ip") : null;
  return { id: `ip:${address === null ? "unknown" : network(address)}`, memoryName: null, key: null };
}

async function holderOf(hash: string, record: KeyRecord | null): Promise<Caller> {
  const key = record && { hash, record };
  return { id: `key:${keyId(hash)}`, memoryName: await hashOf(`memory ${hash}`), key };
}

/** Lets only those pass who have the gpu-workers' key. Throws StepError "invalid_api_key". */
export async function authenticateWorker(headers: Headers, { gpuWorkerKey }: Config): Promise<void> {
  if (!(await hasKey(headers, [await hashOf(gpuWorkerKey)]))) {
    throw new StepError("invalid_api_key", "Send the gpu-workers' key.");
  }
}

/** Lets only those pass who administer keys. Throws StepError "invalid_api_key". */
export async function authenticateAdmin(headers: Headers, { adminKeyHashes }: Config): Promise<void> {
  if (adminKeyHashes.length === 0)
    throw new StepError("invalid_api_key", "This deployment has no administrator's key.");
  if (!(await hasKey(headers, adminKeyHashes))) {
    throw new StepError("invalid_api_key", "Send the administrator's key: Authorization: Bearer <key>.");
  }
}

/** Whether a request carries one of the keys. */
export async function hasKey(headers: Headers, hashes: readonly string[]): Promise<boolean> {
  const key = bearerKey(headers);
  return key !== null && isAmong(await hashOf(key), hashes);
}

/** null: there is none. */
function bearerKey(headers: Headers): string | null {
  // A gpu-worker's key may hold spaces.
  return /^Bearer +(\S.*)$/i.exec(headers.get("authorization") ?? "")?.[1] ?? null;
}

/** SHA-256 of a text, hex. */
export async function hashOf(text: string): Promise<string> {
  return await sha256Hex(new Uint8Array(new TextEncoder().encode(text)));
}

/** Every hash is compared in full, so that time tells nothing about them. */
function isAmong(hash: string, hashes: readonly string[]): boolean {
  return hashes.filter((known) => equalHex(hash, known)).length > 0;
}

/** An IPv4 address as it is; of an IPv6 address the first 64 bits, as its owner chooses the others. */
function network(address: string): string {
  if (!address.includes(":")) return address;
  const [head = [], tail] = address.split("::").map((part) => part.split(":").filter((group) => group !== ""));
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - head.length - tail.length);
  const groups = [...head, ...new Array<string>(zeros).fill("0"), ...(tail ?? [])];
  return `${groups.slice(0, 4).join(":")}::/64`;
}

/** Compares all 64 digits whatever they are. */
function equalHex(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
