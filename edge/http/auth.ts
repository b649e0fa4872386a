import { StepError } from "../../shared/errors.ts";
import { sha256Hex } from "../text/bundles.ts";

/** Who calls: what limits are counted by. Holds no key, only a part of its hash. */
export interface Caller {
  readonly id: string;
}

/** A caller's name for the engine, which is told neither keys nor addresses. */
export async function tenantOf({ id }: Caller): Promise<string> {
  return (await sha256Hex(new Uint8Array(new TextEncoder().encode(`tenant ${id}`)))).slice(0, 32);
}

/**
 * With API keys configured a bearer key is required and must be one of them. Without, everybody is
 * anonymous, told apart by address; keys that OpenAI's clients always send are not looked at.
 * Throws StepError "invalid_api_key".
 */
export async function authenticate(headers: Headers, keyHashes: readonly string[]): Promise<Caller> {
  if (keyHashes.length === 0) {
    return { id: `ip:${headers.get("cf-connecting-ip") ?? "unknown"}` };
  }
  const key = /^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (key === undefined) throw new StepError("invalid_api_key", "Send an API key: Authorization: Bearer <key>.");
  const hash = await sha256Hex(new Uint8Array(new TextEncoder().encode(key)));
  // Every configured hash is compared in full, so that time tells nothing about them.
  const matches = keyHashes.filter((known) => equalHex(hash, known)).length;
  if (matches === 0) throw new StepError("invalid_api_key", "The API key is not valid.");
  return { id: `key:${hash.slice(0, 16)}` };
}

/** Compares all 64 digits whatever they are. */
function equalHex(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
