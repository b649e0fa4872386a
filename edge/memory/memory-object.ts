import { DurableObject } from "cloudflare:workers";
import { LIMITS } from "../../shared/limits.ts";
import type { MemorySize, MemoryState } from "./memory.ts";

const TOKEN_BYTES = 4;
/** A memory in which nothing was put for so long is given up. */
const LONGEST_REQUEST_MS = 3_600_000;

/** The earlier texts of one tenant, the latest of them, each for a while. */
export class TenantMemory extends DurableObject {
  readonly #storage: DurableObjectStorage;

  constructor(state: DurableObjectState, env: Cloudflare.Env) {
    super(state, env);
    this.#storage = state.storage;
  }

  async recall(tokenizer: string): Promise<MemoryState> {
    const { sql } = this;
    const [life] = sql.exec<{ epoch: string }>("SELECT epoch FROM life").toArray();
    const epoch = life?.epoch ?? crypto.randomUUID();
    if (life === undefined) {
      sql.exec("INSERT INTO life VALUES (?)", epoch);
      await this.#wakeBy(Date.now() + LONGEST_REQUEST_MS);
    }
    const query = "SELECT tokens FROM texts WHERE tokenizer = ? AND expires > ? ORDER BY id";
    const texts = sql.exec<{ tokens: ArrayBuffer }>(query, tokenizer, Date.now()).toArray();
    return { epoch, texts: texts.map(({ tokens }) => tokens) };
  }

  /** `keptMs`: for how long. */
  async remember(epoch: string, tokenizer: string, text: ArrayBuffer, keptMs: number): Promise<void> {
    const { sql } = this;
    // Deleted meanwhile: what began before that is not to come back.
    if (sql.exec("SELECT 1 FROM life WHERE epoch = ?", epoch).toArray().length === 0) return;
    this.#dropStartsOf(tokenizer, text);
    const expires = Date.now() + keptMs;
    sql.exec("INSERT INTO texts (tokenizer, tokens, expires) VALUES (?, ?, ?)", tokenizer, text, expires);
    this.#dropOldest();
    await this.#wakeBy(expires);
  }

  size(): MemorySize {
    const query = "SELECT count(*) AS texts, coalesce(sum(length(tokens)), 0) AS bytes FROM texts WHERE expires > ?";
    const { texts, bytes } = this.sql.exec<{ texts: number; bytes: number }>(query, Date.now()).one();
    return { texts, tokens: bytes / TOKEN_BYTES };
  }

  async forget(): Promise<void> {
    await this.#storage.deleteAlarm();
    await this.#storage.deleteAll();
  }

  override async alarm(): Promise<void> {
    this.sql.exec("DELETE FROM texts WHERE expires <= ?", Date.now());
    const { next } = this.sql.exec<{ next: number | null }>("SELECT min(expires) AS next FROM texts").one();
    if (next === null) await this.forget();
    else await this.#storage.setAlarm(next);
  }

  /** The tables are made when they are needed, since deleting everything takes them, too. */
  private get sql(): SqlStorage {
    const { sql } = this.#storage;
    sql.exec(`CREATE TABLE IF NOT EXISTS life (epoch TEXT NOT NULL);
      CREATE TABLE IF NOT EXISTS texts (id INTEGER PRIMARY KEY AUTOINCREMENT, tokenizer TEXT NOT NULL,
        tokens BLOB NOT NULL, expires INTEGER NOT NULL)`);
    return sql;
  }

  async #wakeBy(time: number): Promise<void> {
    const planned = await this.#storage.getAlarm();
    if (planned === null || planned > time) await this.#storage.setAlarm(time);
  }

  /** The turns of a conversation each begin with all that was said before. */
  #dropStartsOf(tokenizer: string, text: ArrayBuffer): void {
    const query = "DELETE FROM texts WHERE tokenizer = ? AND tokens = substr(?, 1, length(tokens))";
    this.sql.exec(query, tokenizer, text);
  }

  #dropOldest(): void {
    const query = "SELECT id, length(tokens) AS bytes FROM texts ORDER BY id DESC";
    let texts = 0;
    let bytes = 0;
    for (const row of this.sql.exec<{ id: number; bytes: number }>(query).toArray()) {
      texts++;
      bytes += row.bytes;
      if (texts <= LIMITS.memoryTexts && bytes <= LIMITS.memoryTokens * TOKEN_BYTES) continue;
      this.sql.exec("DELETE FROM texts WHERE id <= ?", row.id);
      return;
    }
  }
}
