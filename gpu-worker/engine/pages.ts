import { assert } from "../../shared/assert.ts";

const FREE = 0;
const USED = 1;
const CACHED = 2;

/** Share of the memory touched that may lie free before no more is: those who want neighbours find some. */
const MOST_SPARE = 0.25;

/**
 * The pages of the cache: who holds them, and what those hold that nobody does. A page with a key holds tokens that
 * follow from the key alone (prefix.ts); it is shared read-only while used and, once nobody uses it, kept until its
 * place is needed, the least recently used first.
 */
export class PagePool {
  readonly size: number;
  readonly #state: Uint8Array;
  readonly #users: Uint32Array;
  readonly #keys = new Map<number, string>();
  readonly #byKey = new Map<string, number>();
  /** Cached pages, the least recently used first. */
  readonly #idle = new Set<number>();
  #free: number;
  /** Pages from here on have never been taken: the system has not given them any memory yet. */
  #reach = 0;
  /** Where to look for the next free page. */
  #cursor = 0;

  constructor(size: number) {
    this.size = size;
    this.#state = new Uint8Array(size);
    this.#users = new Uint32Array(size);
    this.#free = size;
  }

  /** Pages that can be taken now, those with cached tokens included. */
  get available(): number {
    return this.#free + this.#idle.size;
  }

  /** Pages held by sessions. */
  get used(): number {
    return this.size - this.available;
  }

  /** Pages kept for those who may come back. */
  get cached(): number {
    return this.#idle.size;
  }

  usersOf(page: number): number {
    return this.#users[page]!;
  }

  /**
   * Takes `count` pages for one user, preferably those after page `after`: neighbours are read faster. null, and
   * nothing is taken, where there are not as many.
   */
  take(count: number, after = -1): number[] | null {
    if (count > this.available) return null;
    const pages: number[] = [];
    for (let next = after; pages.length < count; ) {
      next = this.#freePage(next + 1);
      this.#reach = Math.max(this.#reach, next + 1);
      this.#state[next] = USED;
      this.#users[next] = 1;
      this.#free--;
      pages.push(next);
    }
    return pages;
  }

  /** Gives back pages of one user, in the order of their tokens: later ones are the first to be forgotten. */
  give(pages: readonly number[]): void {
    for (const page of pages.toReversed()) {
      assert(this.#users[page]! > 0, "a page is given back by a user of it");
      if (--this.#users[page]! > 0) continue;
      if (this.#keys.has(page)) {
        this.#state[page] = CACHED;
        this.#idle.add(page);
      } else {
        this.#state[page] = FREE;
        this.#free++;
      }
    }
  }

  /** Names what a page in use holds, now that it is full. The first page of a name keeps it, a page its first name. */
  name(page: number, key: string): void {
    assert(this.#state[page] === USED, "a page in use");
    if (this.#byKey.has(key) || this.#keys.has(page)) return;
    this.#keys.set(page, key);
    this.#byKey.set(key, page);
  }

  /** The page of that name, with one user more; null where there is none. */
  share(key: string): number | null {
    const page = this.#byKey.get(key);
    if (page === undefined) return null;
    this.#idle.delete(page);
    this.#state[page] = USED;
    this.#users[page]!++;
    return page;
  }

  /** Forgets what pages hold, as after the loss of the memory itself; nobody may be using any. */
  clear(): void {
    assert(this.used === 0, "no page is in use");
    this.#keys.clear();
    this.#byKey.clear();
    this.#idle.clear();
    this.#state.fill(FREE);
    this.#free = this.size;
    this.#reach = 0;
    this.#cursor = 0;
  }

  /**
   * `wanted` if it is free, else a free one, else a cached one, emptied. Memory is touched for the first time only where
   * little of what was touched before is free, so that it grows with what is held and not with what has been.
   */
  #freePage(wanted: number): number {
    if (this.#free === 0) return this.#evict();
    const spare = this.#reach - (this.size - this.#free);
    const grows = spare <= this.#reach * MOST_SPARE;
    if (wanted < (grows ? this.size : this.#reach) && this.#state[wanted] === FREE) return wanted;
    if (grows && this.#reach < this.size) return this.#reach;
    while (this.#state[this.#cursor] !== FREE) this.#cursor = (this.#cursor + 1) % this.#reach;
    return this.#cursor;
  }

  #evict(): number {
    const [page] = this.#idle;
    assert(page !== undefined, "there is a page to evict");
    this.#idle.delete(page);
    this.#byKey.delete(this.#keys.get(page)!);
    this.#keys.delete(page);
    this.#free++;
    return page;
  }
}
