export interface Source<T> {
  readonly open: () => AsyncGenerator<T, void>;
  /** Number of the source whose first item this one waits for; null: none. */
  readonly after: number | null;
}

/**
 * Items of several sources as they come, in the order of the sources where they come at once. At most `width` run at a
 * time, and they begin in order. Whatever ends this, `stop` is called, which must end all that still runs.
 */
export async function* interleave<T>(
  sources: readonly Source<T>[],
  width: number,
  stop: () => void,
): AsyncGenerator<T, void> {
  const running = new Map<number, { readonly items: AsyncGenerator<T, void>; next: Promise<Next<T>> }>();
  const begun = new Set<number>();
  let opened = 0;
  const ask = async (from: number, items: AsyncGenerator<T, void>): Promise<Next<T>> => {
    return { from, result: await items.next() };
  };
  const mayOpen = () => {
    const after = sources[opened]?.after;
    return after !== undefined && (after === null || begun.has(after)) && running.size < width;
  };
  try {
    for (;;) {
      for (; mayOpen(); opened++) {
        const items = sources[opened]!.open();
        running.set(opened, { items, next: ask(opened, items) });
      }
      if (running.size === 0) return;
      const { from, result } = await Promise.race([...running.values()].map(({ next }) => next));
      begun.add(from);
      const source = running.get(from)!;
      if (result.done) {
        running.delete(from);
        continue;
      }
      yield result.value;
      source.next = ask(from, source.items);
    }
  } finally {
    stop();
    for (const { items, next } of running.values()) {
      next.catch(() => undefined);
      items.return().catch(() => undefined);
    }
  }
}

interface Next<T> {
  readonly from: number;
  readonly result: IteratorResult<T, void>;
}
