import { DurableObject } from "cloudflare:workers";
import type { Admitted } from "./keys.ts";
import { type Asked, Quota } from "./quota.ts";
import { type DayUsage, endOf, KEPT_MS, type KeyRecord, statusOf, type Used } from "./record.ts";

const RECORD = "record";

/**
 * One key: what it allows, what is left of that, and what was used on each day. What is left is held in memory, so that
 * nothing is written before a completion begins; an object that is moved or restarted begins a new minute.
 */
export class KeyAccount extends DurableObject {
  readonly #storage: DurableObjectStorage;
  #record: KeyRecord | null;
  #quota: Quota | null = null;

  constructor(state: DurableObjectState, env: Cloudflare.Env) {
    super(state, env);
    this.#storage = state.storage;
    // Nothing is written for keys that do not exist, of which anybody may ask.
    this.#record = state.storage.kv.get<KeyRecord>(RECORD) ?? null;
  }

  async open(record: KeyRecord): Promise<void> {
    this.#storage.sql.exec(`CREATE TABLE IF NOT EXISTS usage (day TEXT PRIMARY KEY, requests INTEGER NOT NULL,
      promptTokens INTEGER NOT NULL, cachedTokens INTEGER NOT NULL, completionTokens INTEGER NOT NULL)`);
    await this.#keep(record);
  }

  async revoke(at: number): Promise<void> {
    if (this.#record !== null && this.#record.revokedAt === null) await this.#keep({ ...this.#record, revokedAt: at });
  }

  /** null: there is no such key. */
  record(): KeyRecord | null {
    return this.#record;
  }

  /** Whether a completion may begin, which takes what it may use. */
  admit(asked: Asked): Admitted {
    const record = this.#record;
    const now = Date.now();
    if (record === null || statusOf(record, now) !== "active") return { record, taken: null };
    this.#quota ??= new Quota(record.limits, now);
    return { record, taken: this.#quota.take(asked, now) };
  }

  renew(lease: string): void {
    this.#quota?.renew(lease, Date.now());
  }

  settle(lease: string, used: Used): void {
    // Given up in the meantime.
    if (this.#record === null) return;
    const now = Date.now();
    this.#quota?.settle(lease, used.promptTokens + used.completionTokens, now);
    const { sql } = this.#storage;
    const query = `INSERT INTO usage VALUES (?, 1, ?, ?, ?) ON CONFLICT (day) DO UPDATE SET requests = requests + 1,
      promptTokens = promptTokens + excluded.promptTokens, cachedTokens = cachedTokens + excluded.cachedTokens,
      completionTokens = completionTokens + excluded.completionTokens`;
    sql.exec(query, dayOf(now), used.promptTokens, used.cachedTokens, used.completionTokens);
    sql.exec("DELETE FROM usage WHERE day < ?", dayOf(now - KEPT_MS));
  }

  /** The latest day first. */
  usage(): DayUsage[] {
    if (this.#record === null) return [];
    const rows = this.#storage.sql.exec<Record<keyof DayUsage, SqlStorageValue>>(
      "SELECT * FROM usage ORDER BY day DESC",
    );
    return rows.toArray() as unknown as DayUsage[];
  }

  override async alarm(): Promise<void> {
    this.#record = null;
    await this.#storage.deleteAll();
  }

  async #keep(record: KeyRecord): Promise<void> {
    this.#record = record;
    this.#storage.kv.put(RECORD, record);
    const end = endOf(record);
    if (end !== null) await this.#storage.setAlarm(end + KEPT_MS);
  }
}

function dayOf(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
