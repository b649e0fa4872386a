import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { type DraftTree, prune } from "../../shared/draft-tree.ts";
import type { Load, StepResult } from "../../shared/engine.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { EngineEvents } from "../engine/events.ts";

/** Seconds, from a quick step to a long prefill. */
const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];
const ROWS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/**
 * Counters of one server, in a registry of their own, by vLLM's names where the meaning is the same. Ratios (block
 * efficiency, prefix hits) are the reader's to form.
 */
export class Metrics implements EngineEvents {
  readonly registry = new Registry();
  readonly #registers = [this.registry];
  readonly #sessions = this.#gauge("foredraft_sessions_open", "Sessions being opened or open");
  readonly #running = this.#gauge("foredraft_num_requests_running", "Sessions that have begun");
  readonly #waiting = this.#gauge("foredraft_num_requests_waiting", "Sessions that wait for their first pass");
  readonly #kv = this.#gauge("foredraft_kv_cache_usage_perc", "Share of the cache held by sessions, 0 to 1");
  readonly #steps = this.#counter("foredraft_spec_decode_num_drafts_total", "Model calls after prefill, by session");
  readonly #drafted = this.#counter("foredraft_spec_decode_num_draft_tokens_total", "Drafted tokens verified");
  readonly #accepted = this.#counter("foredraft_spec_decode_num_accepted_tokens_total", "Drafted tokens accepted");
  readonly #unverified = this.#counter(
    "foredraft_spec_decode_num_unverified_tokens_total",
    "Drafted tokens not verified, as they would not have paid",
  );
  readonly #prompt = this.#counter("foredraft_prompt_tokens_total", "Prompt tokens of opened sessions");
  readonly #committed = this.#counter("foredraft_generation_tokens_total", "Tokens committed");
  readonly #queries = this.#counter("foredraft_prefix_cache_queries_total", "Tokens looked up in the prefix cache");
  readonly #hits = this.#counter("foredraft_prefix_cache_hits_total", "Tokens found in the prefix cache");
  readonly #preemptions = this.#counter("foredraft_num_preemptions_total", "Sessions that lost their pages to others");
  readonly #restarts = this.#counter("foredraft_model_restarts_total", "Times the model was lost and started again");
  readonly #errors = new Counter({
    name: "foredraft_errors_total",
    help: "Errors: sessions ended by one, and runs that the edge had to draft (unsupported)",
    labelNames: ["code"] as const,
    registers: this.#registers,
  });
  readonly #rows = this.#histogram("foredraft_iteration_tokens_total", "Rows of a pass", ROWS);
  readonly #batch = this.#histogram("foredraft_iteration_sessions", "Sessions of a pass", ROWS);
  readonly #pass = this.#histogram("foredraft_pass_seconds", "Time of a pass", SECONDS);
  readonly #queueWait = this.#byKind("foredraft_request_queue_time_seconds", "Waiting for a pass, by prefill or step");
  readonly #inPasses = this.#byKind("foredraft_request_inference_time_seconds", "In passes, by prefill or step");

  /** @param load of the engine, asked for at each scrape */
  constructor(load: () => Load) {
    for (const [gauge, field] of [
      [this.#running, "running"],
      [this.#waiting, "waiting"],
      [this.#kv, "kvUsed"],
    ] as const) {
      // prom-client reads `collect` at each scrape.
      Object.assign(gauge, { collect: () => gauge.set(load()[field]) });
    }
  }

  sessionStarted(): void {
    this.#sessions.inc();
  }

  sessionEnded(): void {
    this.#sessions.dec();
  }

  opened(promptTokens: number, { timing }: StepResult): void {
    this.#prompt.inc(promptTokens);
    this.#queueWait.observe({ kind: "prefill" }, timing.queueMs / 1000);
    this.#inPasses.observe({ kind: "prefill" }, timing.modelMs / 1000);
  }

  stepped(draft: DraftTree, { accepted, threshold, timing }: StepResult): void {
    const verified = prune(draft, threshold).nodes.length;
    this.#steps.inc();
    this.#drafted.inc(verified);
    this.#unverified.inc(draft.tokens.length - verified);
    this.#accepted.inc(accepted.length);
    this.#queueWait.observe({ kind: "step" }, timing.queueMs / 1000);
    this.#inPasses.observe({ kind: "step" }, timing.modelMs / 1000);
  }

  failed(code: ErrorCode): void {
    this.#errors.inc({ code });
  }

  pass({ rows, sessions, committed, ms }: Parameters<EngineEvents["pass"]>[0]): void {
    this.#rows.observe(rows);
    this.#batch.observe(sessions);
    this.#pass.observe(ms / 1000);
    this.#committed.inc(committed);
  }

  shared(found: number, tokens: number): void {
    this.#queries.inc(tokens);
    this.#hits.inc(found);
  }

  preempted(): void {
    this.#preemptions.inc();
  }

  lost(): void {
    this.#restarts.inc();
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: this.#registers });
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: this.#registers });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name, help, buckets, registers: this.#registers });
  }

  #byKind(name: string, help: string): Histogram<"kind"> {
    return new Histogram({ name, help, buckets: SECONDS, labelNames: ["kind"] as const, registers: this.#registers });
  }
}
