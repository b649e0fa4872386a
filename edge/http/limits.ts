import { StepError } from "../../shared/errors.ts";
import type { Config } from "../config.ts";
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
export async function checkRate(limiter: RateLimiter | null, caller: Caller, { rateLimit }: Config): Promise<void> {
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

/** Completions running at once, by caller; of this isolate only. */
export class StreamSlots {
  readonly #max: number;
  readonly #taken = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Takes a place; the result gives it back and may be called twice. Throws RateLimited. */
  take(caller: Caller): () => void {
    const taken = this.#taken.get(caller.id) ?? 0;
    if (taken >= this.#max) {
      throw new RateLimited(`At most ${this.#max} completions may run at once.`, { "retry-after": "1" });
    }
    this.#taken.set(caller.id, taken + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (this.#taken.get(caller.id) ?? 1) - 1;
      if (left === 0) this.#taken.delete(caller.id);
      else this.#taken.set(caller.id, left);
    };
  }
}
