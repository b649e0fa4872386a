import type { KeyLimits } from "./record.ts";

/** A stream that has not been renewed for so long is over, ms. */
export const LEASE_MS = 60_000;

const MINUTE_MS = 60_000;

/** A limit that refuses. */
export type QuotaLimit = "requests_per_minute" | "tokens_per_minute" | "streams";

/** Where a rate stands. */
export interface Rate {
  readonly limit: number;
  readonly remaining: number;
  /** Until all of it is there again, ms. */
  readonly resetMs: number;
}

/** null: there is no such limit. */
export interface Rates {
  readonly requests: Rate | null;
  readonly tokens: Rate | null;
}

/** What a completion asks for. */
export interface Asked {
  /** Choices that it would decode at once, at least 1. */
  readonly streams: number;
  /** Tokens that it may use at most. */
  readonly tokens: number;
}

export type Taken =
  | { readonly ok: true; readonly lease: string; readonly streams: number; readonly rates: Rates }
  | { readonly ok: false; readonly limit: QuotaLimit; readonly retryAfterMs: number; readonly rates: Rates };

interface Lease {
  readonly streams: number;
  readonly tokens: number;
  expiresAt: number;
}

/**
 * What a key has left. Requests and tokens come back evenly over a minute. A completion's tokens are taken before
 * it begins, as many as it may use but never more than the limit, and what it did not use is given back at its end.
 */
export class Quota {
  readonly #streams: number;
  readonly #requests: Bucket | null;
  readonly #tokens: Bucket | null;
  readonly #leases = new Map<string, Lease>();

  /** `now`: ms. */
  constructor({ requestsPerMinute, tokensPerMinute, streams }: KeyLimits, now: number) {
    this.#streams = streams ?? Number.POSITIVE_INFINITY;
    this.#requests = requestsPerMinute === null ? null : new Bucket(requestsPerMinute, now);
    this.#tokens = tokensPerMinute === null ? null : new Bucket(tokensPerMinute, now);
  }

  /** Takes all of it or nothing; of the streams those that are free, but at least one. */
  take(asked: Asked, now: number): Taken {
    const free = this.#streams - this.#running(now);
    const tokens = Math.min(asked.tokens, this.#tokens?.limit ?? asked.tokens);
    const refused = (limit: QuotaLimit, retryAfterMs: number): Taken => {
      return { ok: false, limit, retryAfterMs, rates: this.rates(now) };
    };
    if (free < 1) return refused("streams", 1000);
    const requestsMs = this.#requests?.untilHas(1, now) ?? 0;
    if (requestsMs > 0) return refused("requests_per_minute", requestsMs);
    const tokensMs = this.#tokens?.untilHas(tokens, now) ?? 0;
    if (tokensMs > 0) return refused("tokens_per_minute", tokensMs);
    this.#requests?.add(-1, now);
    this.#tokens?.add(-tokens, now);
    const lease = crypto.randomUUID();
    const streams = Math.min(asked.streams, free);
    this.#leases.set(lease, { streams, tokens, expiresAt: now + LEASE_MS });
    return { ok: true, lease, streams, rates: this.rates(now) };
  }

  /** The stream still runs. */
  renew(id: string, now: number): void {
    const lease = this.#leases.get(id);
    if (lease !== undefined) lease.expiresAt = now + LEASE_MS;
  }

  /** It has ended, with so many tokens used. */
  settle(id: string, used: number, now: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    this.#leases.delete(id);
    this.#tokens?.add(lease.tokens - used, now);
  }

  rates(now: number): Rates {
    return { requests: this.#requests?.rate(now) ?? null, tokens: this.#tokens?.rate(now) ?? null };
  }

  #running(now: number): number {
    let running = 0;
    for (const [id, { streams, expiresAt }] of this.#leases) {
      if (expiresAt <= now) this.#leases.delete(id);
      else running += streams;
    }
    return running;
  }
}

/** Fills up evenly, `limit` in a minute; what is used beyond it comes off what follows. */
class Bucket {
  readonly limit: number;
  /** In parts of which a minute's worth of ms makes one, so that whole numbers stay whole. */
  #level: number;
  #at: number;

  constructor(limit: number, now: number) {
    this.limit = limit;
    this.#level = limit * MINUTE_MS;
    this.#at = now;
  }

  /** Until it holds `amount`, ms; 0: it does. */
  untilHas(amount: number, now: number): number {
    this.#fill(now);
    return Math.max(0, Math.ceil((amount * MINUTE_MS - this.#level) / this.limit));
  }

  add(amount: number, now: number): void {
    this.#fill(now);
    this.#level = Math.min(this.limit * MINUTE_MS, this.#level + amount * MINUTE_MS);
  }

  rate(now: number): Rate {
    const resetMs = this.untilHas(this.limit, now);
    return { limit: this.limit, remaining: Math.max(0, Math.floor(this.#level / MINUTE_MS)), resetMs };
  }

  #fill(now: number): void {
    const passed = Math.max(0, now - this.#at);
    this.#level = Math.min(this.limit * MINUTE_MS, this.#level + passed * this.limit);
    this.#at = now;
  }
}
