import * as z from "zod";
import { LIMITS } from "../../shared/limits.ts";
import { RESCORER_TYPES, type RescorerType } from "../../shared/rescore/index.ts";

/** What a key allows; null: no limit of the key's own. */
export interface KeyLimits {
  readonly requestsPerMinute: number | null;
  /** Prompt and completion tokens. */
  readonly tokensPerMinute: number | null;
  /** Completions at once. */
  readonly streams: number | null;
  /** Tokens of prompt and completion together. */
  readonly maxContext: number | null;
  /** Rescorers that a request may draft with, beside `none`. */
  readonly rescorers: readonly RescorerType[] | null;
}

/** A key as it is stored: everything but the key, of which only the hash is known. Times are Unix times, ms. */
export interface KeyRecord {
  /** The beginning of the hash, by which limits are counted too. */
  readonly id: string;
  readonly name: string;
  readonly limits: KeyLimits;
  readonly createdAt: number;
  /** null: never. */
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
}

/** What was used on one day (UTC). */
export interface DayUsage {
  readonly day: string;
  readonly requests: number;
  readonly promptTokens: number;
  /** Of them, those that had been computed before. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** What one completion used. */
export type Used = Pick<DayUsage, "promptTokens" | "cachedTokens" | "completionTokens">;

const atMost = (most: number) => z.int().min(1).max(most).nullish();

/** What POST /admin/keys takes. */
export const newKey = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/, "letters, digits and ._@-, at most 64"),
  requests_per_minute: atMost(LIMITS.perMinute),
  tokens_per_minute: atMost(LIMITS.perMinute),
  streams: atMost(LIMITS.keyStreams),
  max_context: z.int().min(2).max(LIMITS.contextTokens).nullish(),
  rescorers: z.array(z.enum(RESCORER_TYPES)).nullish(),
  expires_at: z.iso.datetime({ offset: true }).nullish().meta({ description: "ISO 8601, with a time zone." }),
});

export function recordOf(body: z.infer<typeof newKey>, id: string, now: number): KeyRecord {
  return {
    id,
    name: body.name,
    limits: {
      requestsPerMinute: body.requests_per_minute ?? null,
      tokensPerMinute: body.tokens_per_minute ?? null,
      streams: body.streams ?? null,
      maxContext: body.max_context ?? null,
      rescorers: body.rescorers ?? null,
    },
    createdAt: now,
    expiresAt: body.expires_at == null ? null : Date.parse(body.expires_at),
    revokedAt: null,
  };
}

/** A key as its holder and the administrator see it. */
export function keyBody({ id, name, limits, createdAt, expiresAt, revokedAt }: KeyRecord, now: number) {
  const { requestsPerMinute, tokensPerMinute, streams, maxContext, rescorers } = limits;
  const iso = (time: number | null) => (time === null ? null : new Date(time).toISOString());
  return {
    object: "key",
    id,
    name,
    status: statusOf({ expiresAt, revokedAt }, now),
    requests_per_minute: requestsPerMinute,
    tokens_per_minute: tokensPerMinute,
    streams,
    max_context: maxContext,
    rescorers,
    created_at: iso(createdAt),
    expires_at: iso(expiresAt),
    revoked_at: iso(revokedAt),
  };
}

export function usageBody({ day, requests, promptTokens, cachedTokens, completionTokens }: DayUsage) {
  return {
    day,
    requests,
    prompt_tokens: promptTokens,
    cached_tokens: cachedTokens,
    completion_tokens: completionTokens,
  };
}

export type KeyStatus = "active" | "expired" | "revoked";

export function statusOf({ expiresAt, revokedAt }: Pick<KeyRecord, "expiresAt" | "revokedAt">, now: number): KeyStatus {
  if (revokedAt !== null) return "revoked";
  return expiresAt !== null && expiresAt <= now ? "expired" : "active";
}

/** When a key ended or will end; null: it will not. */
export function endOf({ expiresAt, revokedAt }: KeyRecord): number | null {
  return revokedAt ?? expiresAt;
}

const KEY = /^fd-[A-Za-z0-9_-]{43}$/;

/** A new key: 256 random bits. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const text = btoa(String.fromCharCode(...bytes));
  return `fd-${text.replaceAll("+", "-").replaceAll("/", "_").replace("=", "")}`;
}

/** Whether a text looks like a key from here; what does not is not looked up. */
export function isStoredKey(text: string): boolean {
  return KEY.test(text);
}

/** A key's id, from its SHA-256 in hex. */
export function keyId(hash: string): string {
  return hash.slice(0, 16);
}

/** How long a key that ended, and what was used on a day, is kept, ms. */
export const KEPT_MS = LIMITS.usageDays * 86_400_000;
