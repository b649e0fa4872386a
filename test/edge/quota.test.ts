import { describe, expect, test } from "vitest";
import { duration } from "../../edge/keys/admission.ts";
import { LEASE_MS, Quota } from "../../edge/keys/quota.ts";
import type { KeyLimits } from "../../edge/keys/record.ts";

const NONE: KeyLimits = {
  requestsPerMinute: null,
  tokensPerMinute: null,
  streams: null,
  maxContext: null,
  rescorers: null,
};
const quota = (limits: Partial<KeyLimits>) => new Quota({ ...NONE, ...limits }, 0);
const one = { streams: 1, tokens: 0 };

/** Takes what must be granted. */
function take(of: Quota, asked: { streams: number; tokens: number }, now: number) {
  const taken = of.take(asked, now);
  if (!taken.ok) throw new Error(`refused by ${taken.limit}`);
  return taken;
}

describe("requests", () => {
  test("come back evenly over a minute, and a refused one costs nothing", () => {
    const of = quota({ requestsPerMinute: 2 });
    expect(take(of, one, 0).rates.requests).toEqual({ limit: 2, remaining: 1, resetMs: 30_000 });
    take(of, one, 0);
    for (let i = 0; i < 3; i++) {
      expect(of.take(one, 10_000)).toMatchObject({ ok: false, limit: "requests_per_minute", retryAfterMs: 20_000 });
    }
    take(of, one, 30_000);
    expect(of.take(one, 30_000)).toMatchObject({ ok: false, retryAfterMs: 30_000 });
  });

  test("are never more than a minute's, however long nobody asked", () => {
    const of = quota({ requestsPerMinute: 2 });
    take(of, one, 3_600_000);
    take(of, one, 3_600_000);
    expect(of.take(one, 3_600_000).ok).toBe(false);
  });
});

describe("tokens", () => {
  test("are taken before, and what was not used is given back after", () => {
    const of = quota({ tokensPerMinute: 1000 });
    const { lease, rates } = take(of, { streams: 1, tokens: 800 }, 0);
    expect(rates.tokens).toEqual({ limit: 1000, remaining: 200, resetMs: 48_000 });
    expect(of.take({ streams: 1, tokens: 300 }, 0)).toMatchObject({ limit: "tokens_per_minute", retryAfterMs: 6_000 });
    of.settle(lease, 100, 0);
    expect(of.rates(0).tokens?.remaining).toBe(900);
    // Once only.
    of.settle(lease, 100, 0);
    expect(of.rates(0).tokens?.remaining).toBe(900);
  });

  test("of a completion that may use more than the limit are all there are", () => {
    const of = quota({ tokensPerMinute: 1000 });
    const { lease } = take(of, { streams: 1, tokens: 5000 }, 0);
    expect(of.rates(0).tokens?.remaining).toBe(0);
    of.settle(lease, 1500, 0);
    // What it used beyond them is missing from the next minute.
    expect(of.take({ streams: 1, tokens: 1 }, 30_000)).toMatchObject({ ok: false, retryAfterMs: 60 });
    take(of, { streams: 1, tokens: 1 }, 30_060);
  });

  test("that are refused leave requests as they were", () => {
    const of = quota({ requestsPerMinute: 5, tokensPerMinute: 10 });
    take(of, { streams: 1, tokens: 10 }, 0);
    expect(of.take({ streams: 1, tokens: 1 }, 0)).toMatchObject({ ok: false, limit: "tokens_per_minute" });
    expect(of.rates(0).requests?.remaining).toBe(4);
  });
});

describe("streams", () => {
  test("are those that are free, but at least one", () => {
    const of = quota({ streams: 3 });
    expect(take(of, { streams: 2, tokens: 0 }, 0).streams).toBe(2);
    const last = take(of, { streams: 4, tokens: 0 }, 0);
    expect(last.streams).toBe(1);
    expect(of.take(one, 0)).toMatchObject({ ok: false, limit: "streams", retryAfterMs: 1000 });
    of.settle(last.lease, 0, 0);
    expect(take(of, { streams: 4, tokens: 0 }, 0).streams).toBe(1);
  });

  test("are free again when nobody renews them", () => {
    const of = quota({ streams: 1 });
    const { lease } = take(of, one, 0);
    of.renew(lease, LEASE_MS - 1);
    expect(of.take(one, LEASE_MS).ok).toBe(false);
    take(of, one, 2 * LEASE_MS);
    // Whose owner turns up after all changes nothing.
    of.renew(lease, 2 * LEASE_MS);
    of.settle(lease, 5, 2 * LEASE_MS);
    expect(of.take(one, 2 * LEASE_MS).ok).toBe(false);
  });
});

test("without limits everything is granted, and there is nothing to tell", () => {
  const of = quota({});
  for (let i = 0; i < 100; i++) expect(take(of, { streams: 4, tokens: 8192 }, 0).streams).toBe(4);
  expect(of.rates(0)).toEqual({ requests: null, tokens: null });
});

test.each([
  [0, "0ms"],
  [20, "20ms"],
  [8640, "8.64s"],
  [60_000, "1m0s"],
  [361_500, "6m1.5s"],
])("%d ms is written as OpenAI does: %s", (ms, text) => expect(duration(ms)).toBe(text));
