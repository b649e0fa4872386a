import { beforeEach, expect, test } from "vitest";
import { hashOf } from "../../edge/http/auth.ts";
import { type Account, FRESH_MS, type KeyStore } from "../../edge/keys/keys.ts";
import { Quota } from "../../edge/keys/quota.ts";
import { type KeyRecord, randomKey } from "../../edge/keys/record.ts";
import { testApp, user } from "./fixture.ts";

const KEY = randomKey();
const HASH = await hashOf(KEY);
const RECORD: KeyRecord = {
  id: HASH.slice(0, 16),
  name: "ann",
  limits: { requestsPerMinute: null, tokensPerMinute: null, streams: null, maxContext: null, rescorers: null },
  createdAt: 0,
  expiresAt: null,
  revokedAt: null,
};

let now = 1_800_000_000_000;
let record: KeyRecord | null = RECORD;
/** Calls to accounts, in order. */
let calls: string[] = [];
let down = false;
beforeEach(() => {
  record = RECORD;
  calls = [];
  down = false;
});

function note<T>(name: string, value: T): Promise<T> {
  calls.push(name);
  return down ? Promise.reject(new Error("the object is gone")) : Promise.resolve(value);
}

const account = (hash: string): Account => {
  const own = hash === HASH ? record : null;
  const quota = new Quota(RECORD.limits, now);
  return {
    open: () => note("open", undefined),
    revoke: () => note("revoke", undefined),
    record: () => note("record", own),
    admit: (asked) => {
      const valid = own !== null && own.revokedAt === null;
      return note("admit", { record: own, taken: valid ? quota.take(asked, now) : null });
    },
    renew: () => note("renew", undefined),
    settle: () => note("settle", undefined),
    usage: () => note("usage", []),
  };
};
const keyStore: KeyStore = {
  account,
  directory() {
    throw new Error("no request of a key's holder asks the list");
  },
};

function app() {
  const { app, logged } = testApp({ deps: { keyStore, date: () => now }, env: { ANONYMOUS: "false" } });
  const waiting: Promise<unknown>[] = [];
  const context = {
    waitUntil: (promise: Promise<unknown>) => waiting.push(promise),
    passThroughOnException() {},
    props: {},
  };
  const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
  return {
    logged,
    models: async () => (await app.request("/v1/models", { headers })).status,
    async complete() {
      const body = JSON.stringify({ messages: user("x") });
      const response = await app.request("/v1/chat/completions", { method: "POST", headers, body }, {}, context);
      await Promise.all(waiting);
      return response.status;
    },
  };
}

test("a completion of a key known to the isolate is one call before it, and one after", async () => {
  const { models, complete } = app();
  expect(await models()).toBe(200);
  calls = [];
  expect(await complete()).toBe(200);
  expect(calls).toEqual(["admit", "settle"]);
  expect(await models()).toBe(200);
  expect(calls).toEqual(["admit", "settle"]);
});

test("a revoked key gets no completion, and nothing else once what is known of it is old", async () => {
  const { models, complete } = app();
  expect(await models()).toBe(200);
  record = { ...RECORD, revokedAt: now };
  now += FRESH_MS - 1;
  expect(await models()).toBe(200);
  now += 1;
  expect(await models()).toBe(401);

  record = RECORD;
  now += FRESH_MS;
  expect(await models()).toBe(200);
  record = { ...RECORD, revokedAt: now };
  expect(await complete()).toBe(401);
  // Which tells the isolate.
  expect(await models()).toBe(401);
});

test("while keys cannot be asked nobody is let in, nor told that the key is wrong", async () => {
  const { models, complete, logged } = app();
  down = true;
  expect(await models()).toBe(503);
  expect(await complete()).toBe(503);
  expect(logged.map(String)).toEqual(["Error: the object is gone", "Error: the object is gone"]);
});

test("what is refused before the key is asked costs nothing", async () => {
  const { app: whole } = testApp({ deps: { keyStore, date: () => now }, env: { ANONYMOUS: "false" } });
  for (const key of ["sk-other", `${KEY}x`, "fd-short"]) {
    const response = await whole.request("/v1/models", { headers: { authorization: `Bearer ${key}` } });
    expect(response.status).toBe(401);
  }
  expect(calls).toEqual([]);
});
