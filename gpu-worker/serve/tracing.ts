import { type Post, Tracing, type TracingConfig } from "../../shared/telemetry/tracing.ts";

/** How often spans are sent, ms. */
const INTERVAL_MS = 1_000;
/** Spans that are not taken by then are lost, ms. */
const DEADLINE_MS = 5_000;

export interface Exported {
  readonly tracing: Tracing;
  /** Sends what is left. */
  close(): Promise<void>;
}

/** Spans of this process, sent every second. */
export function startTracing(config: TracingConfig, log: (line: string) => void): Exported {
  const post: Post = (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(DEADLINE_MS) });
  const logError = (error: unknown) => log(`spans are lost: ${error}`);
  const tracing = new Tracing({ ...config, service: "foredraft-gpu-worker", post, logError });
  let sending: Promise<void> | null = null;
  const send = () => {
    // One after the other, however slow the receiver is.
    sending ??= tracing.flush().finally(() => {
      sending = null;
    });
  };
  const timer = setInterval(send, INTERVAL_MS);
  return {
    tracing,
    async close() {
      clearInterval(timer);
      await sending;
      await tracing.flush();
    },
  };
}
