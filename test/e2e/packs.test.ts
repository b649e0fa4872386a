import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";
import { LIMITS } from "../../shared/limits.ts";
import { readPackHeader } from "../../shared/ngram/format.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { toyModel } from "../ngram/helpers.ts";
import { type Service, serving } from "./service.ts";

/** Packs that a tenant uploads: they change that tenant's drafts, never a text, and nobody else can name them. */

let service: Service;
const use = (started: Service) => {
  service = started;
};

const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
const SHIPPED = new Uint8Array(readFileSync(join(ROOT, "models/tiny/packs/general.fdlm")));
const { tokenizerHash, vocabSize } = readPackHeader(SHIPPED);
/** Knows nothing of any language. */
const odd = (seed: number, hash = tokenizerHash, tokens = vocabSize) =>
  writePack(toyModel({ seed, order: 3, vocabSize: tokens, documents: 20, length: 200 }).table, hash);
const ODD = odd(7);

const VARS = { API_KEYS: ["ann", "bob"].map((key) => sha256(key)).join() };

async function removeAll(): Promise<void> {
  for (const key of ["ann", "bob"]) await packs(key, "DELETE");
}

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function packs(key: string | null, method: string, name = "", body?: Uint8Array): Promise<Answer> {
  const headers: Record<string, string> = key === null ? {} : { authorization: `Bearer ${key}` };
  const path = name === "" ? "/v1/packs" : `/v1/packs/${name}`;
  const init = { method, headers, ...(body === undefined ? {} : { body: new Uint8Array(body) }) };
  const response = await fetch(`${service.url}${path}`, init);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

async function ask(key: string, rescorer: object, more: object = {}) {
  const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
  const speculation = { max_nodes: 8, placement: "edge", trace: true, rescorer, ...more };
  const body = { model: "tiny", prompt: "Once upon a time", max_tokens: 40, temperature: 0, speculation };
  const response = await service.post("/v1/completions", body, { headers });
  return { status: response.status, body: (await response.json()) as Completion };
}

interface Completion {
  readonly choices: readonly { readonly text: string }[];
  readonly speculation: { readonly steps: readonly { readonly drafted: unknown }[] };
  readonly metrics: { readonly placement: { readonly steps: { readonly edge: number; readonly gpu: number } } };
  readonly error?: { readonly message: string; readonly param: string };
}

const drafts = ({ body }: { readonly body: Completion }) => body.speculation.steps.map(({ drafted }) => drafted);
const NGRAM = { type: "ngram", alpha: 0.9, prompt: false };

describe("over the model", () => {
  serving({ engine: "tiny", vars: VARS }, use);
  beforeEach(removeAll);

  test("an uploaded pack is told of, used by name and by hash, replaced, and gone once it is deleted", async () => {
    const shipped = await ask("ann", NGRAM);
    const hash = sha256(SHIPPED);
    const put = await packs("ann", "PUT", "mine", SHIPPED);
    expect(put).toMatchObject({ status: 200, body: { object: "pack", name: "mine", sha256: hash, models: ["tiny"] } });
    expect(put.body.bytes).toBe(SHIPPED.length);
    expect(await packs("ann", "GET", "mine")).toMatchObject({ status: 200, body: { sha256: hash } });
    expect((await packs("ann", "GET")).body).toMatchObject({ object: "list", data: [{ name: "mine", sha256: hash }] });
    expect(drafts(await ask("ann", { ...NGRAM, model: "mine" }))).toEqual(drafts(shipped));

    expect((await packs("ann", "PUT", "mine", ODD)).status).toBe(200);
    expect((await packs("ann", "GET")).body.data).toHaveLength(1);
    const byName = await ask("ann", { ...NGRAM, model: "mine" });
    expect(byName.body.choices).toEqual(shipped.body.choices);
    expect(drafts(byName)).not.toEqual(drafts(shipped));
    expect(drafts(await ask("ann", { ...NGRAM, model: sha256(ODD) }))).toEqual(drafts(byName));
    expect((await ask("ann", { ...NGRAM, model: hash })).status).toBe(400);

    expect(await packs("ann", "DELETE", "mine")).toMatchObject({ status: 200, body: { name: "mine", deleted: true } });
    for (const model of ["mine", sha256(ODD)]) {
      expect((await ask("ann", { ...NGRAM, model })).status).toBe(400);
      for (const method of ["GET", "DELETE"]) expect((await packs("ann", method, model)).status).toBe(404);
    }
    for (const name of ["a", "b"]) await packs("ann", "PUT", name, ODD);
    expect((await packs("ann", "DELETE")).body).toEqual({ object: "list", deleted: 2 });
    expect((await packs("ann", "GET")).body).toEqual({ object: "list", data: [] });
  });

  test("no other key can use, see, replace or remove it, by name or by hash", async () => {
    await packs("ann", "PUT", "mine", ODD);
    const before = await ask("bob", NGRAM);
    const unknown = await ask("bob", { ...NGRAM, model: "no-such-pack" });
    expect(unknown.status).toBe(400);
    for (const model of ["mine", sha256(ODD), "../ann/mine", "packs/0"]) {
      const refused = await ask("bob", { ...NGRAM, model });
      expect(refused).toEqual(unknown);
      const name = encodeURIComponent(model);
      expect((await packs("bob", "GET", name)).status).toBe(404);
      expect((await packs("bob", "DELETE", name)).status).toBe(404);
    }
    expect((await packs("bob", "GET")).body).toEqual({ object: "list", data: [] });
    expect((await packs("bob", "DELETE")).body).toEqual({ object: "list", deleted: 0 });
    // One of the same name is another pack.
    await packs("bob", "PUT", "mine", SHIPPED);
    expect(drafts(await ask("bob", { ...NGRAM, model: "mine" }))).toEqual(drafts(before));
    expect((await packs("ann", "GET", "mine")).body).toMatchObject({ sha256: sha256(ODD) });
    await packs("bob", "DELETE");
    expect((await ask("ann", { ...NGRAM, model: "mine" })).status).toBe(200);
  });

  test("where the gpu-worker drafts, it does so by the model's pack, and the text is the same", async () => {
    await packs("ann", "PUT", "mine", ODD);
    const plain = await ask("ann", { type: "none" }, { enabled: false });
    for (const placement of ["edge", "gpu", "auto"]) {
      for (const type of ["ngram", "tree"]) {
        const { status, body } = await ask("ann", { type, model: "mine", prompt: true, memory: true }, { placement });
        expect(status).toBe(200);
        expect(body.choices).toEqual(plain.body.choices);
        if (placement === "gpu") expect(body.metrics.placement.steps.edge).toBe(0);
        if (placement === "edge") expect(body.metrics.placement.steps.gpu).toBe(0);
      }
    }
  });
});

describe("what is uploaded", () => {
  serving({ engine: "fake", vars: VARS }, use);
  beforeEach(removeAll);

  test("what is no pack, not for a model here, too large or one too many is refused, and nothing of it is kept", async () => {
    const flipped = SHIPPED.with(SHIPPED.length >> 1, SHIPPED[SHIPPED.length >> 1]! ^ 1);
    const refusals: [string, Uint8Array, number, string | null, RegExp][] = [
      ["x", new Uint8Array(0), 400, "body", /shorter than a header/],
      ["x", new TextEncoder().encode("not a pack, ".repeat(100)), 400, "body", /not a .fdlm file/],
      ["x", SHIPPED.slice(0, -4), 400, "body", /bytes where its header asks for/],
      ["x", flipped, 400, "body", /checksum/],
      ["x", odd(1, "cd".repeat(32)), 400, "body", new RegExp(`cdcdcd.*tiny has ${tokenizerHash}`)],
      ["x", odd(1, tokenizerHash, vocabSize + 1), 400, "body", /more than the/],
      ["x", new Uint8Array(LIMITS.tenantPackBytes + 1), 413, null, /exceeds 8388608 bytes/],
      ["general", SHIPPED, 400, "name", /model tiny has a pack of that name/],
      ["a%2Fb", SHIPPED, 400, "name", /letters, digits/],
      ["a".repeat(65), SHIPPED, 400, "name", /64/],
      [sha256(SHIPPED), SHIPPED, 400, "name", /no SHA-256/],
    ];
    for (const [name, bytes, status, param, message] of refusals) {
      const told = await packs("ann", "PUT", name, bytes);
      expect(told, `${message}`).toMatchObject({
        status,
        body: { error: { param, message: expect.stringMatching(message) } },
      });
    }
    expect((await packs("ann", "GET")).body.data).toEqual([]);
    for (let i = 0; i < LIMITS.tenantPacks; i++) expect((await packs("ann", "PUT", `p${i}`, ODD)).status).toBe(200);
    const full = await packs("ann", "PUT", "one-more", ODD);
    expect(full).toMatchObject({ status: 400, body: { error: { param: "name" } } });
    expect((await packs("ann", "PUT", "p0", SHIPPED)).status).toBe(200);
    expect((await packs("bob", "PUT", "mine", ODD)).status).toBe(200);
  });

  test("uploads at once never make more packs than a key may have", async () => {
    const put = async (i: number) => {
      for (;;) {
        const { status } = await packs("ann", "PUT", `p${i}`, ODD);
        if (status !== 429 && status !== 503) return status;
      }
    };
    const statuses = await Promise.all(Array.from({ length: LIMITS.tenantPacks + 3 }, (_, i) => put(i)));
    expect(statuses.filter((status) => status === 200)).toHaveLength(LIMITS.tenantPacks);
    expect((await packs("ann", "GET")).body.data).toHaveLength(LIMITS.tenantPacks);
  });

  test("it needs an API key", async () => {
    for (const method of ["GET", "DELETE"]) expect((await packs(null, method)).status).toBe(401);
    expect((await packs("mallory", "PUT", "x", new Uint8Array(LIMITS.tenantPackBytes))).status).toBe(401);
    expect((await packs("ann", "POST")).status).toBe(405);
  });
});

describe("without keys", () => {
  serving({ engine: "fake" }, use);

  test("nothing can be uploaded", async () => {
    expect((await packs("ann", "PUT", "x", ODD)).body).toMatchObject({ error: { code: "unsupported" } });
  });
});
