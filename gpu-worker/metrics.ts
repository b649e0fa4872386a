import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { StepResult } from "../shared/engine.ts";
import type { ErrorCode } from "../shared/errors.ts";

/** Seconds, from a quick step to a long prefill. */
const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];

/** Counters of one server, in a registry of their own. Ratios (block efficiency, say) are the reader's to form. */
export class Metrics {
  readonly registry = new Registry();
  readonly #registers = [this.registry];
  readonly #sessions = new Gauge({
    name: "foredraft_sessions_open",
    help: "Sessions being opened or open",
    registers: this.#registers,
  });
  readonly #steps = new Counter({
    name: "foredraft_steps_total",
    help: "Model calls after prefill",
    registers: this.#registers,
  });
  readonly #committed = new Counter({
    name: "foredraft_committed_tokens_total",
    help: "Tokens committed by steps: accepted and bonus tokens",
    registers: this.#registers,
  });
  readonly #drafted = new Counter({
    name: "foredraft_drafted_tokens_total",
    help: "Draft tree nodes verified",
    registers: this.#registers,
  });
  readonly #accepted = new Counter({
    name: "foredraft_accepted_tokens_total",
    help: "Draft tree nodes accepted",
    registers: this.#registers,
  });
  readonly #prompt = new Counter({
    name: "foredraft_prompt_tokens_total",
    help: "Prompt tokens of opened sessions",
    registers: this.#registers,
  });
  readonly #errors = new Counter({
    name: "foredraft_errors_total",
    help: "Sessions ended by an error",
    labelNames: ["code"] as const,
    registers: this.#registers,
  });
  readonly #queueWait = this.#seconds("foredraft_queue_wait_seconds", "Waiting for the model, by prefill or step");
  readonly #model = this.#seconds("foredraft_model_seconds", "Inside the model, by prefill or step");
  readonly #total = this.#seconds("foredraft_request_seconds", "Queue, model and engine together, by prefill or step");

  /** @param kvBytes of all key/value caches, asked for at each scrape */
  constructor(kvBytes: () => number) {
    new Gauge({
      name: "foredraft_kv_cache_bytes",
      help: "Memory of all key/value caches",
      registers: this.#registers,
      collect() {
        this.set(kvBytes());
      },
    });
  }

  sessionStarted(): void {
    this.#sessions.inc();
  }

  sessionEnded(): void {
    this.#sessions.dec();
  }

  opened(promptTokens: number, result: StepResult): void {
    this.#prompt.inc(promptTokens);
    this.#observe("prefill", result);
  }

  stepped(draftedTokens: number, result: StepResult): void {
    this.#steps.inc();
    this.#drafted.inc(draftedTokens);
    this.#accepted.inc(result.accepted.length);
    this.#committed.inc(result.accepted.length + 1);
    this.#observe("step", result);
  }

  failed(code: ErrorCode): void {
    this.#errors.inc({ code });
  }

  #observe(kind: "prefill" | "step", { timing }: StepResult): void {
    this.#queueWait.observe({ kind }, timing.queueMs / 1000);
    this.#model.observe({ kind }, timing.modelMs / 1000);
    this.#total.observe({ kind }, (timing.queueMs + timing.modelMs + timing.engineMs) / 1000);
  }

  #seconds(name: string, help: string): Histogram<"kind"> {
    return new Histogram({ name, help, buckets: SECONDS, labelNames: ["kind"] as const, registers: this.#registers });
  }
}
