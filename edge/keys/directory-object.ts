import { DurableObject } from "cloudflare:workers";
import { LIMITS } from "../../shared/limits.ts";
import type { Added, ListedKey } from "./keys.ts";
import { endOf, KEPT_MS, type KeyRecord, statusOf } from "./record.ts";

/** The one list of keys, by name; no request but the administrator's asks it. */
export class KeyDirectory extends DurableObject {
  readonly #sql: SqlStorage;

  constructor(state: DurableObjectState, env: Cloudflare.Env) {
    super(state, env);
    this.#sql = state.storage.sql;
    this.#sql.exec("CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, hash TEXT NOT NULL, record TEXT NOT NULL)");
  }

  /** Names are given to one active key at a time. Those that ended long ago are forgotten first. */
  add(hash: string, record: KeyRecord): Added {
    const now = Date.now();
    const known = this.list();
    for (const one of known) if ((endOf(one) ?? now) + KEPT_MS <= now) this.remove(one.id);
    if (known.some((one) => one.name === record.name && statusOf(one, now) === "active")) return "name taken";
    const { count } = this.#sql.exec<{ count: number }>("SELECT count(*) AS count FROM keys").one();
    if (count >= LIMITS.keys) return "full";
    this.#sql.exec("INSERT INTO keys VALUES (?, ?, ?)", record.id, hash, JSON.stringify(record));
    return "added";
  }

  remove(id: string): void {
    this.#sql.exec("DELETE FROM keys WHERE id = ?", id);
  }

  revoke(id: string, at: number): void {
    const [row] = this.#rows().filter(({ record }) => record.id === id);
    if (row === undefined || row.record.revokedAt !== null) return;
    const record: KeyRecord = { ...row.record, revokedAt: at };
    this.#sql.exec("UPDATE keys SET record = ? WHERE id = ?", JSON.stringify(record), id);
  }

  /** By id or name; of several of one name the active one, else the latest. null: there is none. */
  find(nameOrId: string): ListedKey | null {
    const now = Date.now();
    const found = this.#rows().filter(({ record }) => record.id === nameOrId || record.name === nameOrId);
    return found.find(({ record }) => statusOf(record, now) === "active") ?? found.at(-1) ?? null;
  }

  /** The oldest first. */
  list(): KeyRecord[] {
    return this.#rows().map(({ record }) => record);
  }

  #rows(): ListedKey[] {
    const rows = this.#sql.exec<{ hash: string; record: string }>("SELECT hash, record FROM keys ORDER BY rowid");
    return rows.toArray().map(({ hash, record }) => ({ hash, record: JSON.parse(record) as KeyRecord }));
  }
}
