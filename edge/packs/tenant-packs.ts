import { StepError } from "../../shared/errors.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { loadPack, readPackHeader } from "../../shared/ngram/format.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { invalid } from "../openai/check.ts";
import { sha256Hex } from "../sha256.ts";
import type { PackStore, StoredPack } from "./pack-store.ts";

/** What an uploaded file must fit to. */
export type PackTarget = Pick<BundleManifest, "name" | "tokenizer" | "architecture">;

/**
 * What an uploaded file is. Everything in it is read, so that no request meets a fault later. Throws StepError (400)
 * where it is no pack, or none for any model of `targets`.
 */
export async function checkPack(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  targets: readonly PackTarget[],
): Promise<Omit<StoredPack, "created">> {
  const { order, ngrams, vocabSize, tokenizerHash } = readable(() => readPackHeader(bytes));
  const fitting = targets.filter(({ tokenizer }) => tokenizer.sha256 === tokenizerHash);
  if (fitting.length === 0) {
    const known = targets.map((target) => `${target.name} has ${target.tokenizer.sha256}`).join(", ");
    throw invalid("body", `the pack was made for the tokenizer ${tokenizerHash}; of the models here ${known}`);
  }
  const narrow = fitting.find(({ architecture }) => vocabSize > architecture.vocabSize);
  if (narrow !== undefined) {
    const { name: model, architecture } = narrow;
    throw invalid("body", `the pack has ${vocabSize} tokens, more than the ${architecture.vocabSize} of ${model}`);
  }
  readable(() => loadPack(bytes));
  return { name, sha256: await sha256Hex(bytes), bytes: bytes.length, order, ngrams, tokenizer: tokenizerHash };
}

/** Of a file that somebody sent the reader's complaint is a fault of the request. */
function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof StepError) || error.code !== "internal") throw error;
    throw invalid("body", error.message);
  }
}

/** Kept loaded at once. */
const LOADED = 2;

/** Uploaded packs as models. Kept for the tenant that loaded them: how fast a pack is there tells nobody of others' packs. */
export class LoadedPacks {
  readonly #models = new Map<string, NgramModel>();

  /** Throws StepError "not_found" where it was removed meanwhile, "internal" where the store has spoilt it. */
  async load(tenant: string, store: PackStore, pack: StoredPack): Promise<NgramModel> {
    const key = `${tenant} ${pack.sha256}`;
    const kept = this.#models.get(key);
    this.#models.delete(key);
    const model = kept ?? (await this.#read(store, pack));
    this.#models.set(key, model);
    const oldest = this.#models.keys().next();
    if (this.#models.size > LOADED && !oldest.done) this.#models.delete(oldest.value);
    return model;
  }

  /** Forgets what a tenant no longer has. */
  retain(tenant: string, packs: readonly StoredPack[]): void {
    const kept = new Set(packs.map(({ sha256 }) => `${tenant} ${sha256}`));
    for (const key of this.#models.keys()) if (key.startsWith(`${tenant} `) && !kept.has(key)) this.#models.delete(key);
  }

  async #read(store: PackStore, pack: StoredPack): Promise<NgramModel> {
    const bytes = await store.read(pack);
    if (bytes === null) throw new StepError("not_found", `The pack '${pack.name}' has just been removed.`);
    if ((await sha256Hex(bytes)) !== pack.sha256) {
      throw new StepError("internal", "An uploaded pack is not what it was.");
    }
    return loadPack(bytes);
  }
}

/** The packs of one tenant as its requests use them. */
export class TenantPacks {
  readonly #tenant: string;
  readonly #store: PackStore;
  readonly #loaded: LoadedPacks;

  constructor(tenant: string, store: PackStore, loaded: LoadedPacks) {
    this.#tenant = tenant;
    this.#store = store;
    this.#loaded = loaded;
  }

  /** By name or by hash; null: this tenant has none such. Asks the store, so that a pack removed anywhere is gone everywhere. */
  async find(model: string): Promise<StoredPack | null> {
    const packs = await this.list();
    return packs.find(({ name, sha256 }) => name === model || sha256 === model) ?? null;
  }

  async load(pack: StoredPack): Promise<NgramModel> {
    return await this.#loaded.load(this.#tenant, this.#store, pack);
  }

  async list(): Promise<readonly StoredPack[]> {
    const packs = await this.#store.list();
    this.#loaded.retain(this.#tenant, packs);
    return packs;
  }

  async put(pack: Omit<StoredPack, "created">, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    return await this.#store.put(pack, bytes);
  }

  async remove(name: string | null): Promise<number> {
    const removed = await this.#store.remove(name);
    await this.list();
    return removed;
  }
}
