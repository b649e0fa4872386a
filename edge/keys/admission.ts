import type { StoredKey } from "../http/auth.ts";
import { RateLimited } from "../http/limits.ts";
import type { AppContext, Services } from "../services.ts";
import type { Keys } from "./keys.ts";
import { type Asked, LEASE_MS, type QuotaLimit, type Rate, type Rates, type Taken } from "./quota.ts";
import type { KeyLimits, Used } from "./record.ts";

const RENEW_MS = LEASE_MS / 3;

/** What a completion was granted. */
export interface Grant {
  /** Choices that may be decoded at once. */
  readonly streams: number;
  /** Gives back what was not used; to be called once. */
  settle(used: Used): void;
}

/**
 * Asks the caller's key for what a completion may use, and sets OpenAI's headers of what is left; whoever has no stored
 * key has no quota. Throws RateLimited, or as Keys.lookUp.
 */
export async function admit(c: AppContext, services: Services, wanted: Asked): Promise<Grant> {
  const { key } = c.get("caller");
  const { keys } = services;
  if (key === null || keys === null) return { streams: wanted.streams, settle: () => undefined };
  const taken = await keys.admit(key.hash, wanted);
  if (!taken.ok) throw refusal(taken, key.record.limits);
  for (const [name, value] of Object.entries(rateHeaders(taken.rates))) c.header(name, value);
  return new AccountGrant(c, keys, key, taken, (error) => services.logError(c.get("requestId"), error));
}

/** Keeps the stream's place while it runs. */
class AccountGrant implements Grant {
  readonly streams: number;
  readonly #account: () => ReturnType<Keys["store"]["account"]>;
  readonly #lease: string;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #settled = Promise.withResolvers<void>();
  readonly #logError: (error: unknown) => void;

  constructor(
    c: AppContext,
    keys: Keys,
    { hash }: StoredKey,
    { streams, lease }: Extract<Taken, { ok: true }>,
    logError: (error: unknown) => void,
  ) {
    this.streams = streams;
    this.#account = () => keys.store.account(hash);
    this.#lease = lease;
    this.#logError = logError;
    this.#timer = setInterval(() => void this.#account().renew(lease).catch(logError), RENEW_MS);
    // A client that leaves ends its request, but not before what it used is written down.
    c.executionCtx.waitUntil(this.#settled.promise);
  }

  settle(used: Used): void {
    clearInterval(this.#timer);
    this.#settled.resolve(this.#account().settle(this.#lease, used).catch(this.#logError));
  }
}

function refusal({ limit, retryAfterMs, rates }: Extract<Taken, { ok: false }>, limits: KeyLimits): RateLimited {
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1000));
  return new RateLimited(`${REFUSALS[limit](limits)} (${limit}). Try again in ${seconds} s.`, {
    ...rateHeaders(rates),
    "retry-after": String(seconds),
  });
}

const REFUSALS: Readonly<Record<QuotaLimit, (limits: KeyLimits) => string>> = {
  requests_per_minute: ({ requestsPerMinute }) =>
    `Rate limit reached: this key has ${requestsPerMinute} requests a minute`,
  tokens_per_minute: ({ tokensPerMinute }) => `Rate limit reached: this key has ${tokensPerMinute} tokens a minute`,
  streams: ({ streams }) => `Limit reached: at most ${streams} completions of this key may run at once`,
};

function rateHeaders({ requests, tokens }: Rates): Record<string, string> {
  return { ...headersOf("requests", requests), ...headersOf("tokens", tokens) };
}

function headersOf(of: "requests" | "tokens", rate: Rate | null): Record<string, string> {
  if (rate === null) return {};
  return {
    [`x-ratelimit-limit-${of}`]: String(rate.limit),
    [`x-ratelimit-remaining-${of}`]: String(rate.remaining),
    [`x-ratelimit-reset-${of}`]: duration(rate.resetMs),
  };
}

/** As OpenAI writes it: 20ms, 8.64s, 6m0s. */
export function duration(ms: number): string {
  if (ms < 1000) return `${ms}ms`;
  const minutes = Math.floor(ms / 60_000);
  const seconds = Number(((ms % 60_000) / 1000).toFixed(3));
  return minutes === 0 ? `${seconds}s` : `${minutes}m${seconds}s`;
}
