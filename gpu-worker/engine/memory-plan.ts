import { PAGE_TOKENS } from "../model.ts";

/** A session's part of the cache. */
export interface Holder {
  readonly id: number;
  /** Order of arrival: when memory is short, younger sessions make room for older ones. */
  readonly age: number;
  /** Pages held. */
  readonly pages: number;
  /** Those of them that nobody else holds. */
  readonly own: number;
  /** Its peer has been silent for so long that older age does not protect it. */
  readonly stale: boolean;
}

/** Who gets pages while a pass is planned. */
export class MemoryPlan {
  /** Sessions that lose their pages. */
  readonly preempted = new Set<number>();
  readonly #holders = new Map<number, Holder>();
  /** Pages of each session as planned so far. */
  readonly #pages = new Map<number, number>();
  readonly #eldest: number;
  #free: number;

  constructor(waiting: readonly Holder[], others: readonly Holder[], free: number) {
    this.#free = free;
    this.#eldest = Math.min(...waiting.map(({ age }) => age));
    for (const holder of [...waiting, ...others]) if (holder.pages > 0) this.#holders.set(holder.id, holder);
  }

  /**
   * Pages for `tokens` tokens in all. The oldest session that waits takes what it lacks from younger ones and from
   * those whose peers are silent, the youngest first; all others take what is free.
   */
  reserve(work: Holder, tokens: number): boolean {
    this.#makeRoom(work, tokens);
    return this.extend(work, tokens);
  }

  /** As `reserve`, of what is free alone. */
  extend(work: Holder, tokens: number): boolean {
    const missing = this.#missing(work, tokens);
    if (this.preempted.has(work.id) || missing > this.#free) return false;
    this.#free -= missing;
    this.#pages.set(work.id, this.#held(work) + missing);
    return true;
  }

  /**
   * As `reserve` for the first `part` tokens of a text, or as many of them as there is room for: the number there is
   * room for. What holds nothing yet begins only where the whole of it fits, unless it is the oldest.
   */
  begin(work: Holder, whole: number, part: number): number {
    const fresh = this.#held(work) === 0;
    if (fresh && work.age !== this.#eldest && this.#missing(work, whole) > this.#free) return 0;
    this.#makeRoom(work, part);
    const tokens = Math.min(part, (this.#held(work) + this.#free) * PAGE_TOKENS);
    return this.extend(work, tokens) ? tokens : 0;
  }

  #makeRoom(work: Holder, tokens: number): void {
    if (work.age !== this.#eldest || this.preempted.has(work.id)) return;
    while (this.#missing(work, tokens) > this.#free) if (!this.#preemptFor(work)) return;
  }

  #held(work: Holder): number {
    return this.#pages.get(work.id) ?? work.pages;
  }

  #missing(work: Holder, tokens: number): number {
    return Math.max(0, Math.ceil(tokens / PAGE_TOKENS) - this.#held(work));
  }

  #preemptFor(work: Holder): boolean {
    let youngest: Holder | null = null;
    for (const holder of this.#holders.values()) {
      const may = holder.id !== work.id && (holder.stale || holder.age > work.age);
      if (may && (youngest === null || holder.age > youngest.age)) youngest = holder;
    }
    if (youngest === null) return false;
    this.#holders.delete(youngest.id);
    this.preempted.add(youngest.id);
    this.#free += this.#held(youngest) - youngest.pages + youngest.own;
    return true;
  }
}
