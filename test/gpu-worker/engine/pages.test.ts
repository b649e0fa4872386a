import { describe, expect, test } from "vitest";
import { PagePool } from "../../../gpu-worker/engine/pages.ts";
import { PrefixNames } from "../../../gpu-worker/engine/prefix.ts";
import { Random } from "../../helpers/random.ts";

describe("the pool", () => {
  test("gives out every page once, neighbours first, and nothing beyond", () => {
    const pool = new PagePool(5);
    expect(pool.take(2)).toEqual([0, 1]);
    expect(pool.take(1)).toEqual([2]);
    expect(pool.take(1, 1)).toEqual([3]);
    expect(pool.take(2)).toBeNull();
    expect([pool.available, pool.used]).toEqual([1, 4]);
    pool.give([0, 1]);
    expect(pool.take(3, 3)).toEqual([0, 1, 4]);
  });

  test("takes pages that were taken before, so that memory does not grow with the sessions that have been", () => {
    const pool = new PagePool(10_000);
    const random = new Random(11);
    const users: number[][] = [];
    let [most, reach] = [0, 0];
    for (let round = 0; round < 3000; round++) {
      const pages = pool.take(random.int(1, 40))!;
      users.push(pages);
      most = Math.max(most, pool.used);
      reach = Math.max(reach, ...pages);
      if (users.length > 16) pool.give(users.splice(random.int(0, users.length - 1), 1)[0]!);
      expect(reach).toBeLessThanOrEqual((most * 4) / 3 + 40);
    }
  });

  test("keeps named pages for who comes back, and forgets the least recently used ones, last tokens first", () => {
    const pool = new PagePool(4);
    const first = pool.take(2)!;
    first.forEach((page, i) => pool.name(page, `a${i}`));
    const second = pool.take(1)!;
    pool.name(second[0]!, "b0");
    pool.give(first);
    pool.give(second);
    expect([pool.available, pool.cached, pool.used]).toEqual([4, 3, 0]);
    // One page is free, the next is the first text's last one.
    expect(pool.take(2)).toEqual([3, first[1]]);
    expect(pool.share("a1")).toBeNull();
    expect(pool.share("a0")).toBe(first[0]);
    expect(pool.share("b0")).toBe(second[0]);
    expect(pool.available).toBe(0);
  });

  test("a shared page is free when its last user is gone", () => {
    const pool = new PagePool(1);
    const pages = pool.take(1)!;
    pool.name(pages[0]!, "x");
    expect(pool.share("x")).toBe(0);
    pool.give(pages);
    expect(pool.take(1)).toBeNull();
    pool.give([0]);
    expect(pool.take(1)).toEqual([0]);
  });

  test("the first page of a name keeps it", () => {
    const pool = new PagePool(2);
    const [a, b] = pool.take(2)!;
    pool.name(a!, "x");
    pool.name(b!, "x");
    pool.give([b!]);
    expect([pool.cached, pool.available]).toEqual([0, 1]);
    expect(pool.share("x")).toBe(a);
  });

  test("adds up through any use", () => {
    const random = new Random(3);
    const pool = new PagePool(30);
    const users: number[][] = [];
    for (let round = 0; round < 3000; round++) {
      const at = random.int(0, users.length - 1);
      if (users.length > 0 && random.chance(0.4)) pool.give(users.splice(at, 1)[0]!);
      else if (random.chance(0.5)) {
        const pages = pool.take(random.int(1, 6));
        if (pages !== null) users.push(pages);
        for (const page of pages ?? []) if (random.chance(0.7)) pool.name(page, `n${random.int(0, 40)}`);
      } else {
        const page = pool.share(`n${random.int(0, 40)}`);
        if (page !== null) users.push([page]);
      }
      const held = new Set(users.flat());
      expect(pool.used).toBe(held.size);
      expect(pool.available).toBe(30 - held.size);
    }
    for (const pages of users) pool.give(pages);
    pool.clear();
    expect([pool.available, pool.cached]).toEqual([30, 0]);
  });
});

describe("names of full pages", () => {
  const text = Array.from({ length: 64 }, (_, i) => i * 3);

  test("are those of the text up to there, of one tenant", () => {
    const names = new PrefixNames("a");
    const all = [0, 1, 2, 3].map((i) => names.of(i, text));
    expect(new Set(all).size).toBe(4);
    expect(new PrefixNames("a").of(2, text)).toBe(all[2]);
    expect(new PrefixNames("b").of(2, text)).not.toBe(all[2]);
    const other = text.with(5, 1);
    expect(new PrefixNames("a").of(0, other)).not.toBe(all[0]);
    // The same tokens after another beginning.
    expect(new PrefixNames("a").of(1, other)).not.toBe(all[1]);
  });

  test("of pages already named do not change as the text grows", () => {
    const names = new PrefixNames("a");
    const growing = text.slice(0, 16);
    const first = names.of(0, growing);
    growing.push(...text.slice(16));
    expect([names.of(3, growing), names.of(0, growing)]).toEqual([new PrefixNames("a").of(3, text), first]);
  });
});
