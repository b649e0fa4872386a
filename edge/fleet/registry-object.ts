import { DurableObject } from "cloudflare:workers";
import { LIMITS } from "../../shared/limits.ts";
import type { RegisteredWorker } from "./registry.ts";

/** The one list of gpu-workers that registered, for all isolates of the Worker. */
export class FleetRegistry extends DurableObject {
  readonly #sql: SqlStorage;

  constructor(state: DurableObjectState, env: Cloudflare.Env) {
    super(state, env);
    this.#sql = state.storage.sql;
    this.#sql.exec("CREATE TABLE IF NOT EXISTS workers (url TEXT PRIMARY KEY, model TEXT NOT NULL, expires INTEGER)");
  }

  /**
   * Registers a gpu-worker, or renews it; it is forgotten unless it registers again within `leaseMs`. false: there are as
   * many as the registry holds.
   */
  register({ url, model }: RegisteredWorker, leaseMs: number): boolean {
    const now = Date.now();
    this.#sql.exec("DELETE FROM workers WHERE expires <= ?", now);
    const { others } = this.#sql
      .exec<{ others: number }>("SELECT count(*) AS others FROM workers WHERE url <> ?", url)
      .one();
    if (others >= LIMITS.fleetWorkers) return false;
    this.#sql.exec("INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", url, model, now + leaseMs);
    return true;
  }

  /** false: it was not there. */
  remove(url: string): boolean {
    return this.#sql.exec("DELETE FROM workers WHERE url = ?", url).rowsWritten > 0;
  }

  list(): RegisteredWorker[] {
    const rows = this.#sql.exec<{ url: string; model: string }>(
      "SELECT url, model FROM workers WHERE expires > ? ORDER BY url",
      Date.now(),
    );
    return rows.toArray();
  }
}
