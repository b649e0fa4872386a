import { StepError } from "../../shared/errors.ts";
import { within } from "../within.ts";
import type { Asked, Taken } from "./quota.ts";
import { type DayUsage, type KeyRecord, statusOf, type Used } from "./record.ts";

/** A key's own answer to a completion that is to begin; `taken` is null where the key is not valid. */
export interface Admitted {
  readonly record: KeyRecord | null;
  readonly taken: Taken | null;
}

/** One key's state (account-object.ts). */
export interface Account {
  open(record: KeyRecord): Promise<void>;
  revoke(at: number): Promise<void>;
  record(): Promise<KeyRecord | null>;
  admit(asked: Asked): Promise<Admitted>;
  renew(lease: string): Promise<void>;
  settle(lease: string, used: Used): Promise<void>;
  usage(): Promise<readonly DayUsage[]>;
}

export type Added = "added" | "name taken" | "full";

export interface ListedKey {
  readonly hash: string;
  readonly record: KeyRecord;
}

/** The list of all keys (directory-object.ts). */
export interface Directory {
  add(hash: string, record: KeyRecord): Promise<Added>;
  remove(id: string): Promise<void>;
  revoke(id: string, at: number): Promise<void>;
  find(nameOrId: string): Promise<ListedKey | null>;
  list(): Promise<readonly KeyRecord[]>;
}

/** Where keys are kept; accounts and directory belong to the request that asks for them. */
export interface KeyStore {
  account(hash: string): Account;
  directory(): Directory;
}

/** How long an isolate goes by what it last heard of a key, ms: a revocation takes effect within this time. */
export const FRESH_MS = 10_000;

/** Keys that an isolate remembers, those that do not exist among them. */
const REMEMBERED = 4096;

const ANSWER_MS = 2_000;

/** The keys as one isolate knows them. */
export class Keys {
  readonly store: KeyStore;
  readonly #date: () => number;
  readonly #logError: (error: unknown) => void;
  readonly #known = new Map<string, { readonly record: KeyRecord | null; readonly until: number }>();

  /** `date`: Unix time, ms. */
  constructor(store: KeyStore, date: () => number, logError: (error: unknown) => void) {
    this.store = store;
    this.#date = date;
    this.#logError = logError;
  }

  /** The record of a valid key, as known within FRESH_MS. Throws StepError "invalid_api_key", or "overloaded". */
  async lookUp(hash: string): Promise<KeyRecord> {
    const known = this.#known.get(hash);
    if (known !== undefined && known.until > this.#date()) return this.#valid(known.record);
    return this.#valid(this.#learn(hash, await this.#answer(this.store.account(hash).record())));
  }

  /** Takes what a completion may use; one call to the key's account. Throws as `lookUp`. */
  async admit(hash: string, wanted: Asked): Promise<Taken> {
    const { record, taken } = await this.#answer(this.store.account(hash).admit(wanted));
    this.#learn(hash, record);
    if (taken === null) throw invalidKey(record, this.#date());
    return taken;
  }

  /** Adds a key to list and store, or to neither. */
  async add(hash: string, record: KeyRecord): Promise<Added> {
    const directory = this.store.directory();
    const added = await directory.add(hash, record);
    if (added !== "added") return added;
    try {
      await this.store.account(hash).open(record);
    } catch (error) {
      await directory.remove(record.id);
      throw error;
    }
    return added;
  }

  /** The key is not valid any more; the result is how it is then. */
  async revoke({ hash, record }: ListedKey): Promise<KeyRecord> {
    const revokedAt = record.revokedAt ?? this.#date();
    // Before the list, which only tells of it.
    await this.store.account(hash).revoke(revokedAt);
    await this.store.directory().revoke(record.id, revokedAt);
    return this.#learn(hash, { ...record, revokedAt });
  }

  #learn<T extends KeyRecord | null>(hash: string, record: T): T {
    this.#known.delete(hash);
    const [oldest] = this.#known.keys();
    if (this.#known.size >= REMEMBERED && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(hash, { record, until: this.#date() + FRESH_MS });
    return record;
  }

  /** Nobody is let in, nor told that the key is wrong, while that cannot be known. */
  async #answer<T>(answer: Promise<T>): Promise<T> {
    try {
      return await within(answer, ANSWER_MS);
    } catch (error) {
      this.#logError(error);
      throw new StepError("overloaded", "The API key cannot be checked right now.");
    }
  }

  #valid(record: KeyRecord | null): KeyRecord {
    if (record === null || statusOf(record, this.#date()) !== "active") throw invalidKey(record, this.#date());
    return record;
  }
}

function invalidKey(record: KeyRecord | null, now: number): StepError {
  const status = record === null ? null : statusOf(record, now);
  const words = status === "expired" ? "has expired" : status === "revoked" ? "was revoked" : "is not valid";
  return new StepError("invalid_api_key", `The API key ${words}.`);
}
