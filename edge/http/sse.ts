/** Silence after which a comment is sent, so that no proxy takes the stream for dead, ms. */
export const KEEP_ALIVE_MS = 10_000;

const KEEP_ALIVE = ": keep-alive\n\n";
export const DONE = "data: [DONE]\n\n";

export const SSE_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

export interface SseOptions {
  readonly keepAliveMs: number;
  /** An item as it is sent. */
  readonly frame: (item: unknown) => string;
  /** What follows the last item. */
  readonly done: string;
  /** An error as the last item. */
  readonly errorData: (error: unknown) => unknown;
  /** The reader went away. */
  readonly onCancel: () => void;
  /** Called once, when nothing more will be sent, for whatever reason. */
  readonly onEnd: () => void;
}

/**
 * Sends each item as one frame, then `done`. An error becomes a last frame without `done`, which OpenAI's clients raise.
 * Items are taken one ahead of the reader, not faster.
 */
export function sseStream(items: AsyncIterator<unknown>, options: SseOptions): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder();
  let waiting: Promise<IteratorResult<unknown>> | null = null;
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    options.onEnd();
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      waiting ??= items.next();
      try {
        const next = await orSilence(waiting, options.keepAliveMs);
        // The reader may have left meanwhile; the controller takes nothing more then.
        if (ended) return;
        if (next === null) {
          controller.enqueue(utf8.encode(KEEP_ALIVE));
          return;
        }
        waiting = null;
        if (!next.done) {
          controller.enqueue(utf8.encode(options.frame(next.value)));
          return;
        }
        controller.enqueue(utf8.encode(options.done));
      } catch (error) {
        if (ended) return;
        controller.enqueue(utf8.encode(options.frame(options.errorData(error))));
      }
      controller.close();
      end();
    },
    async cancel() {
      options.onCancel();
      end();
      await items.return?.();
    },
  });
}

/** JSON holds no line breaks, so a frame is one line. */
export function frame(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

/** An item that tells its type, which names the event. */
export function eventFrame(item: unknown): string {
  const type = typeof item === "object" && item !== null && "type" in item ? String(item.type) : "error";
  return `event: ${type}\n${frame(item)}`;
}

async function orSilence<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  const { promise: silence, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(resolve, ms, null);
  try {
    return await Promise.race([promise, silence]);
  } finally {
    clearTimeout(timer);
  }
}
