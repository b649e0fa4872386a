import { CERTAIN, EMPTY_TREE, type Pruned, prune } from "../../shared/draft-tree.ts";
import type { BundleInfo, CancelSignal, Load, OpenSpec, StepEngine, StepSession } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { type PassResult, type Runner, type RunnerItem, RunnerLost } from "../runner.ts";
import { CostModel, type PassWork, type Rates, ratesOf, workOf } from "./costs.ts";
import type { EngineEvents } from "./events.ts";
import { Gathering } from "./gathering.ts";
import { LatticeValue } from "./lattice-value.ts";
import type { Holder } from "./memory-plan.ts";
import { ENGINE_LIMITS, type EngineLimits, type EngineOptions } from "./options.ts";
import { PageTables } from "./page-tables.ts";
import { type Plan, type PlannedItem, schedule, type Work } from "./schedule.ts";
import { EngineSession, refuseSpec, type SessionHost } from "./session.ts";
import { Trust } from "./trust.ts";

/** What the engine needs of the model it schedules. */
export interface EngineModel {
  readonly info: BundleInfo;
  readonly runner: Runner;
  /** Pages of the cache. */
  readonly pages: number;
  /** Rows of a pass. */
  readonly maxRows: number;
  /** Starts the model again after it was lost; rejects where it cannot be had. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** A session that was in this many passes that the model did not survive is given up. */
const MAX_CRASHES = 2;
/** Steps of all sessions over which the outcomes of drafts are averaged. */
const GAIN_STEPS = 256;
/** Promised tokens of all sessions over which is seen what becomes of them. */
const TRUST_TOKENS = 256;
/** Passes over which their time is averaged. */
const LOAD_PASSES = 16;

/** Sessions, and passes over the model in which they take part. */
export class SessionEngine implements StepEngine, SessionHost {
  readonly #model: EngineModel;
  readonly #limits: EngineLimits;
  readonly now: () => number;
  readonly lattices = new LatticeValue(GAIN_STEPS);
  readonly trust = new Trust(TRUST_TOKENS);
  readonly #events: Partial<EngineEvents>;
  readonly #costs: CostModel;
  readonly #tables: PageTables;
  readonly #gathering: Gathering;
  readonly #sessions = new Map<number, EngineSession>();
  /** Sessions with a request, in the order in which they began to wait. */
  readonly #waiting = new Set<EngineSession>();
  /** Sessions whose next pass must be theirs alone: one of them may be what the model does not survive. */
  readonly #suspects = new Set<EngineSession>();
  #nextId = 0;
  #passing = false;
  #passMs = 0;
  /** Recent average time between the ends of sessions, and when the last one was, ms. */
  #paceMs = 1_000;
  #endedAt: number;
  #again: NodeJS.Timeout | undefined;
  #closing = false;

  constructor(model: EngineModel, options: EngineOptions = {}) {
    const { now = () => performance.now(), events = {}, ...limits } = options;
    this.#model = model;
    this.#limits = { ...ENGINE_LIMITS, ...limits };
    this.now = now;
    this.#events = events;
    this.#costs = new CostModel(model.info.costs);
    this.#tables = new PageTables(model.pages, model.runner, events);
    this.#gathering = new Gathering(now);
    this.#endedAt = now();
  }

  get bundle(): BundleInfo {
    return { ...this.#model.info, costs: this.#costs.costs };
  }

  get openSessions(): number {
    return this.#sessions.size;
  }

  get load(): Load {
    let waiting = 0;
    for (const session of this.#waiting) if (!session.rooted && session.length === 0) waiting++;
    const running = this.#sessions.size - waiting;
    const { used, size } = this.#tables.pool;
    return { running, waiting, kvUsed: used / size, passMs: this.#passMs };
  }

  /** Pages: in all, held by sessions, kept for later. */
  get pages(): { readonly all: number; readonly used: number; readonly cached: number } {
    const { size, used, cached } = this.#tables.pool;
    return { all: size, used, cached };
  }

  async open(spec: OpenSpec, signal: CancelSignal): Promise<StepSession> {
    refuseSpec(spec, this.#model.info);
    if (this.#closing) throw new StepError("engine_unavailable", "The engine is stopping.");
    if (this.#sessions.size >= this.#limits.maxSessions) {
      throw new StepError("overloaded", "The engine is busy.", null, this.#retryAfterS());
    }
    const session = new EngineSession(this.#nextId++, spec, this);
    this.#sessions.set(session.id, session);
    this.#tables.share(session);
    const tooLong = setTimeout(() => {
      if (!session.placed && !session.rooted) {
        session.end(new StepError("timeout", "The engine was busy for too long.", null, this.#retryAfterS()));
      }
    }, this.#limits.maxWaitMs);
    try {
      await session.open(signal);
    } finally {
      clearTimeout(tooLong);
    }
    return session;
  }

  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#again);
    for (const session of [...this.#sessions.values()]) session.close();
    await this.#model.close();
  }

  wake(session: EngineSession): void {
    this.#waiting.add(session);
    this.#gathering.wake();
    void this.#pass();
  }

  closed(session: EngineSession): void {
    this.#waiting.delete(session);
    this.#sessions.delete(session.id);
    this.#suspects.delete(session);
    if (session.rooted) {
      const now = this.now();
      this.#paceMs += (now - this.#endedAt - this.#paceMs) / LOAD_PASSES;
      this.#endedAt = now;
    }
    // The pass that runs still writes to its pages.
    if (!session.running) this.#tables.forget(session);
    void this.#pass();
  }

  /** One pass after the other while there is something to do. */
  async #pass(): Promise<void> {
    if (this.#passing) return;
    this.#passing = true;
    try {
      while (this.#waiting.size > 0) {
        // For no longer than the fixed part of a pass, which is what a pass of their own would cost more.
        await this.#gathering.wait(this.#sessions.values(), this.#costs.costs.pass);
        if (await this.#one()) continue;
        // Until one of those that hold the memory ends or has been silent for too long.
        clearTimeout(this.#again);
        this.#again = setTimeout(() => void this.#pass(), this.#limits.staleMs);
        break;
      }
    } finally {
      this.#passing = false;
    }
  }

  /** Plans and runs one pass; false where nothing can be done until something changes. */
  async #one(): Promise<boolean> {
    for (const session of this.#waiting) if (!session.placed && session.pages.length === 0) this.#tables.share(session);
    const { plan, wishes } = this.#plan();
    for (const id of plan.preempted) this.#tables.preempt(this.#sessions.get(id)!);
    if (plan.items.length === 0) return plan.preempted.length > 0;
    const planned = plan.items.map((item) => ({ item, session: this.#sessions.get(item.id)! }));
    const items = planned.map(({ item, session }) => this.#itemOf(item, session, wishes));
    const sessions = planned.map(({ session }) => session);
    const runnerItems = items.map(({ runner }) => runner);
    const work = workOf(
      runnerItems,
      sessions.map(({ length }) => length),
    );
    for (const session of sessions) session.running = true;
    const startedAt = this.now();
    try {
      const result = await this.#model.runner.run(runnerItems);
      this.#take(planned, items, result, this.now() - startedAt, work);
    } catch (error) {
      await this.#lost(sessions, error);
    }
    return true;
  }

  #plan(): { plan: Plan; wishes: ReadonlyMap<number, Work> } {
    const suspects = [...this.#suspects].filter((session) => this.#waiting.has(session));
    const alone = suspects[0];
    const waiting = alone === undefined ? [...this.#waiting] : [alone];
    const before = this.now() - this.#limits.staleMs;
    const holderOf = (session: EngineSession): Holder => {
      const { id, pages, request, touchedAt } = session;
      const own = pages.reduce((sum, page) => sum + Number(this.#tables.pool.usersOf(page) === 1), 0);
      return { id, age: id, pages: pages.length, own, stale: request === null && touchedAt < before };
    };
    const chosen = new Set(waiting);
    const others = [...this.#sessions.values()].filter((session) => !chosen.has(session) && session.pages.length > 0);
    const rates = ratesOf(
      this.#costs.costs,
      waiting.map(({ length }) => length),
    );
    const wishes = waiting.map((session): Work => ({ ...holderOf(session), ...this.#wish(session, rates) }));
    const decoding = [...this.#sessions.values()].some((session) => session.rooted);
    const plan = schedule(wishes, others.map(holderOf), {
      rows: this.#model.maxRows,
      pages: this.#tables.pool.available,
      costs: this.#costs.costs,
      passMs: decoding ? this.#limits.passMs : this.#limits.prefillMs,
    });
    return { plan, wishes: new Map(wishes.map((wish) => [wish.id, wish])) };
  }

  #wish(session: EngineSession, rates: Rates) {
    const { length, missing, request, spec, lattices, trust } = session;
    const heads = spec.heads > 0 && (spec.fixed || lattices.pays(rates));
    if (missing > 0) return { length, kind: "extend", rows: missing, heads } as const;
    const { chances } = request?.draft ?? EMPTY_TREE;
    const wanted = spec.fixed ? chances.map(() => CERTAIN) : chances;
    return { length, kind: "step", chances: wanted, trust: trust.factor, heads } as const;
  }

  /** Gives a session its pages, tells the runner of it where that does not know it, and says what to do for it. */
  #itemOf({ id, rows, threshold }: PlannedItem, session: EngineSession, wishes: ReadonlyMap<number, Work>): Item {
    const { request, missing, spec } = session;
    const pages = this.#tables.extend(session, rows);
    const { heads } = wishes.get(id)!;
    if (missing > 0) return { runner: { id, pages, work: { rows }, heads }, pruned: null, threshold };
    const draft = request?.draft ?? EMPTY_TREE;
    const least = spec.fixed && threshold <= CERTAIN ? 0 : threshold;
    const pruned = prune(draft, least);
    return { runner: { id, pages, work: { draft: pruned.draft }, heads }, pruned, threshold: least };
  }

  /** Takes over the results of a pass. */
  #take(planned: readonly Planned[], items: readonly Item[], result: PassResult, ms: number, work: PassWork): void {
    this.#costs.observe({ ...work, heads: result.lattices }, result.ms);
    this.#passMs += (ms - this.#passMs) / LOAD_PASSES;
    let committed = 0;
    for (const [i, { session }] of planned.entries()) {
      const outcome = result.outcomes[i] ?? null;
      const { runner, pruned, threshold } = items[i]!;
      session.running = false;
      session.crashes = 0;
      this.#suspects.delete(session);
      session.length += "rows" in runner.work ? runner.work.rows : (outcome?.accepted.length ?? 0) + 1;
      if (session.request !== null) session.request.modelMs += ms;
      if (outcome !== null) {
        this.#waiting.delete(session);
        committed += outcome.accepted.length + 1;
        session.conclude(outcome, pruned?.draft ?? null, pruned?.nodes ?? [], { threshold, load: this.load });
      }
      if (session.isClosed) this.#tables.forget(session);
      else this.#tables.nameFullPages(session);
    }
    this.#events.pass?.({ ...work, heads: result.lattices, sessions: planned.length, committed, ms });
  }

  /** The model is gone: it is started again, and every session goes on from its text. */
  async #lost(sessions: readonly EngineSession[], error: unknown): Promise<void> {
    if (!(error instanceof RunnerLost)) console.error(error);
    if (!this.#closing) this.#events.lost?.();
    for (const session of sessions) {
      session.running = false;
      if (session.isClosed) this.#tables.pool.give(session.pages.splice(0));
      else if (++session.crashes >= MAX_CRASHES && this.#suspects.has(session)) {
        session.end(new StepError("engine_failed", "The model failed."));
      } else this.#suspects.add(session);
    }
    this.#tables.lose(this.#sessions.values());
    try {
      await this.#model.restart();
    } catch {
      for (const session of [...this.#sessions.values()]) {
        session.end(new StepError("engine_unavailable", "The model engine is not available."));
      }
    }
  }

  /** When a refused caller may try again: by the recent pace, a session ends by then. */
  #retryAfterS(): number {
    return Math.min(60, Math.max(1, Math.ceil(this.#paceMs / 1000)));
  }
}

interface Planned {
  readonly item: PlannedItem;
  readonly session: EngineSession;
}

interface Item {
  readonly runner: RunnerItem;
  /** null: rows of the text. */
  readonly pruned: Pruned | null;
  readonly threshold: number;
}
