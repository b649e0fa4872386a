import * as z from "zod";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { PackStore, StoredPack } from "./pack-store.ts";

/** Of what is put beside each file; R2 keeps text only. */
const metadata = z.object({
  name: z.string(),
  sha256: z.string(),
  order: z.coerce.number(),
  ngrams: z.coerce.number(),
  tokenizer: z.string(),
});

/** Uploads of one tenant that may come between another one's look and its write. */
const TRIES = 4;

interface Slot {
  readonly key: string;
  readonly etag: string;
  readonly pack: StoredPack;
}

/**
 * The packs of one tenant in R2. There are as many keys as packs allowed, and a key is only written by who has seen what
 * was there, so that uploads at once cannot make more of them, nor take one another's place.
 */
export class R2Packs implements PackStore {
  readonly #bucket: R2Bucket;
  readonly #prefix: string;

  /** `tenant`: whose packs; nobody else's can be named by a key that begins with it. */
  constructor(bucket: R2Bucket, tenant: string) {
    this.#bucket = bucket;
    this.#prefix = `packs/${tenant}/`;
  }

  async list(): Promise<readonly StoredPack[]> {
    return (await this.#slots()).map(({ pack }) => pack);
  }

  async read(pack: StoredPack): Promise<Uint8Array<ArrayBuffer> | null> {
    const slot = (await this.#slots()).find((one) => one.pack.sha256 === pack.sha256);
    if (slot === undefined) return null;
    const object = await this.#bucket.get(slot.key, { onlyIf: { etagMatches: slot.etag } });
    return object !== null && "body" in object ? new Uint8Array(await object.arrayBuffer()) : null;
  }

  async put({ name, sha256, order, ngrams, tokenizer }: Omit<StoredPack, "created">, bytes: Uint8Array<ArrayBuffer>) {
    const customMetadata = { name, sha256, order: String(order), ngrams: String(ngrams), tokenizer };
    for (let i = 0; i < TRIES; i++) {
      const slots = await this.#slots();
      const taken = slots.find(({ pack }) => pack.name === name);
      const key = taken?.key ?? this.#keys().find((one) => slots.every((slot) => slot.key !== one));
      if (key === undefined) return false;
      const onlyIf = taken === undefined ? { etagDoesNotMatch: "*" } : { etagMatches: taken.etag };
      if ((await this.#bucket.put(key, bytes, { customMetadata, sha256, onlyIf })) !== null) return true;
    }
    throw new StepError("overloaded", "The packs of this key are being changed by somebody else.");
  }

  async remove(name: string | null): Promise<number> {
    const slots = (await this.#slots()).filter(({ pack }) => name === null || pack.name === name);
    if (slots.length > 0) await this.#bucket.delete(slots.map(({ key }) => key));
    return slots.length;
  }

  #keys(): string[] {
    return Array.from({ length: LIMITS.tenantPacks }, (_, i) => `${this.#prefix}${i}`);
  }

  /** What there is, the oldest first. */
  async #slots(): Promise<Slot[]> {
    const slots: Slot[] = [];
    let cursor: string | undefined;
    do {
      const from = cursor === undefined ? {} : { cursor };
      const listed = await this.#bucket.list({ prefix: this.#prefix, include: ["customMetadata"], ...from });
      slots.push(...listed.objects.map(slotOf));
      cursor = listed.truncated ? listed.cursor : undefined;
    } while (cursor !== undefined);
    return slots.toSorted((a, b) => a.pack.created - b.pack.created);
  }
}

function slotOf({ key, etag, size, uploaded, customMetadata }: R2Object): Slot {
  const created = Math.floor(uploaded.getTime() / 1000);
  return { key, etag, pack: { ...metadata.parse(customMetadata), bytes: size, created } };
}
