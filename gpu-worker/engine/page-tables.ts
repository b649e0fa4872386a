import { PAGE_TOKENS } from "../model.ts";
import type { Runner } from "../runner.ts";
import type { EngineEvents } from "./events.ts";
import { PagePool } from "./pages.ts";
import type { EngineSession } from "./session.ts";

/** Where sessions lie: which pages of the cache each has, and whether the runner knows it with these. */
export class PageTables {
  readonly pool: PagePool;
  readonly #runner: Runner;
  readonly #events: Partial<EngineEvents>;

  constructor(pages: number, runner: Runner, events: Partial<EngineEvents>) {
    this.pool = new PagePool(pages);
    this.#runner = runner;
    this.#events = events;
  }

  /** Finds what has been computed of a text before. Its last token always runs, for what it leads to. */
  share(session: EngineSession): void {
    const { text, names, pages } = session;
    const most = Math.floor((text.length - 1) / PAGE_TOKENS);
    while (pages.length < most) {
      const page = this.pool.share(names.of(pages.length, text));
      if (page === null) break;
      pages.push(page);
    }
    session.length = pages.length * PAGE_TOKENS;
    session.named = pages.length;
  }

  /** Tells the runner of a session that it does not know, and takes the pages that `rows` more tokens need. */
  extend(session: EngineSession, rows: number): readonly number[] {
    const { id, length, pages, text, spec } = session;
    if (!session.placed) {
      if (session.found === null) {
        // What it finds of its own when it comes back is not counted.
        session.found = length;
        this.#events.shared?.(length, text.length);
      }
      const known = { spec, text: Uint32Array.from(text), promptTokens: spec.prompt.length };
      this.#runner.open(id, known, pages, length);
      session.placed = true;
    }
    const needed = Math.ceil((length + rows) / PAGE_TOKENS) - pages.length;
    const taken = needed > 0 ? this.pool.take(needed, pages.at(-1)) : [];
    if (taken === null) throw new Error("the plan keeps to the pages there are");
    pages.push(...taken);
    return taken;
  }

  nameFullPages(session: EngineSession): void {
    const { text, names, pages, length } = session;
    for (; (session.named + 1) * PAGE_TOKENS <= length; session.named++) {
      this.pool.name(pages[session.named]!, names.of(session.named, text));
    }
  }

  /** Takes a session's pages; what it has computed may still be found when it goes on. */
  preempt(session: EngineSession): void {
    this.#events.preempted?.();
    session.length = 0;
    session.named = 0;
    this.forget(session);
  }

  forget(session: EngineSession): void {
    this.pool.give(session.pages.splice(0));
    if (session.placed) this.#runner.close(session.id);
    session.placed = false;
  }

  /** The runner is gone, and all that it knew and held of these sessions. */
  lose(sessions: Iterable<EngineSession>): void {
    for (const session of sessions) {
      this.pool.give(session.pages.splice(0));
      session.length = 0;
      session.named = 0;
      session.placed = false;
    }
    this.pool.clear();
  }
}
