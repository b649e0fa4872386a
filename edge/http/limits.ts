import { StepError } from "../../shared/errors.ts";
import type { Config, StreamLimits } from "../config.ts";
import type { Caller } from "./auth.ts";

/** Cloudflare's rate limit binding. */
export interface RateLimiter {
  limit(options: { readonly key: string }): Promise<{ readonly success: boolean }>;
}

/** A refusal with the headers that tell the caller when to come back. */
export class RateLimited extends StepError {
  readonly headers: Readonly<Record<string, string>>;

  constructor(message: string, headers: Readonly<Record<string, string>>) {
    super("rate_limit_exceeded", message);
    this.headers = headers;
  }
}

/** A caller (key or address) may send so many requests a period. Throws RateLimited. */
export async function checkRate(
  limiter: RateLimiter | null,
  caller: Pick<Caller, "id">,
  { rateLimit }: Config,
): Promise<void> {
  if (limiter === null) return;
  const { success } = await limiter.limit({ key: caller.id });
  if (success) return;
  const { requests, periodS } = rateLimit;
  throw new RateLimited(`Too many requests: at most ${requests} in ${periodS} s.`, {
    "retry-after": String(periodS),
    "x-ratelimit-limit-requests": String(requests),
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": `${periodS}s`,
  });
}

/** A place that has not been renewed for so long is free again, ms. */
const LEASE_MS = 15_000;
const RENEW_MS = LEASE_MS / 3;

interface Place {
  readonly callerId: string;
  expiresAt: number;
}

/**
 * Completions running at once, by caller and in all; of this isolate only. A place is leased and renewed by a timer of
 * the request that holds it: once a client is gone, workerd may run nothing more of its request, not even a `finally`,
 * and its timers end with it.
 */
export class StreamSlots {
  readonly #limits: StreamLimits;
  readonly #now: () => number;
  readonly #held = new Set<Place>();
  readonly #what: string;

  /** `now`: ms, monotonic. `what` runs in these places. */
  constructor(limits: StreamLimits, now: () => number, what = "completions") {
    this.#what = what;
    this.#limits = limits;
    this.#now = now;
  }

  /**
   * Takes a place; the result gives it back and may be called twice. Throws RateLimited where the caller has all of
   * theirs, StepError "overloaded" where all are taken.
   */
  take(caller: Pick<Caller, "id">): () => void {
    const { perCaller, total } = this.#limits;
    if (this.#count(caller) >= perCaller) {
      throw new RateLimited(`At most ${perCaller} ${this.#what} of one caller may run at once.`, {
        "retry-after": "1",
      });
    }
    if (this.#held.size >= total) throw new StepError("overloaded", "The server is busy.");
    const place: Place = { callerId: caller.id, expiresAt: 0 };
    const renew = () => {
      place.expiresAt = this.#now() + LEASE_MS;
    };
    renew();
    this.#held.add(place);
    const timer = setInterval(renew, RENEW_MS);
    return () => {
      clearInterval(timer);
      this.#held.delete(place);
    };
  }

  /** Up to `most` places, as many as there are, but at least one, as `take`. */
  takeSome(caller: Caller, most: number): { readonly count: number; readonly release: () => void } {
    const releases = [this.take(caller)];
    const { perCaller, total } = this.#limits;
    const isFree = () => this.#count(caller) < perCaller && this.#held.size < total;
    while (releases.length < most && isFree()) releases.push(this.take(caller));
    return {
      count: releases.length,
      release: () => {
        for (const release of releases) release();
      },
    };
  }

  /** The caller's places, after dropping those, of all callers, that nobody renews any more. */
  #count(caller: Pick<Caller, "id">): number {
    const now = this.#now();
    let count = 0;
    for (const place of this.#held) {
      if (place.expiresAt <= now) this.#held.delete(place);
      else if (place.callerId === caller.id) count++;
    }
    return count;
  }
}
