import { StepError } from "../../shared/errors.ts";
import type { Config } from "../config.ts";
import { sha256Hex } from "../text/bundles.ts";

/** Who calls. Holds no key, only what was made of its hash. */
export interface Caller {
  /** What limits are counted by. */
  readonly id: string;
  /** Names what is remembered of this key alone; null without a key. */
  readonly memoryName: string | null;
}

/** A caller's name for the engine, which is told neither keys nor addresses. */
export async function tenantOf({ id }: Caller): Promise<string> {
  return (await hashOf(`tenant ${id}`)).slice(0, 32);
}

/**
 * With API keys configured a bearer key is required and must be one of them. Without, everybody is
 * anonymous, told apart by address where that can be trusted; keys that OpenAI's clients always send are not looked at.
 * Throws StepError "invalid_api_key".
 */
export async function authenticate(headers: Headers, config: Config): Promise<Caller> {
  const { apiKeyHashes: keyHashes } = config;
  if (keyHashes.length === 0) {
    const address = config.trustConnectingIp ? headers.get("cf-connecting-ip") : null;
    return { id: `ip:${address === null ? "unknown" : network(address)}`, memoryName: null };
  }
  const hash = await keyHash(headers);
  if (hash === null) throw new StepError("invalid_api_key", "Send an API key: Authorization: Bearer <key>.");
  if (!isAmong(hash, keyHashes)) throw new StepError("invalid_api_key", "The API key is not valid.");
  return { id: `key:${hash.slice(0, 16)}`, memoryName: await hashOf(`memory ${hash}`) };
}

/** Lets only those pass who have the gpu-workers' key. Throws StepError "invalid_api_key". */
export async function authenticateWorker(headers: Headers, { gpuWorkerKey }: Config): Promise<void> {
  if (!(await hasKey(headers, [await hashOf(gpuWorkerKey)]))) {
    throw new StepError("invalid_api_key", "Send the gpu-workers' key.");
  }
}

/** Whether a request carries one of the keys. */
export async function hasKey(headers: Headers, hashes: readonly string[]): Promise<boolean> {
  const hash = await keyHash(headers);
  return hash !== null && isAmong(hash, hashes);
}

/** Of the bearer key; null where there is none. */
async function keyHash(headers: Headers): Promise<string | null> {
  // A gpu-worker's key may hold spaces.
  const key = /^Bearer +(\S.*)$/i.exec(headers.get("authorization") ?? "")?.[1];
  return key === undefined ? null : await hashOf(key);
}

async function hashOf(text: string): Promise<string> {
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
