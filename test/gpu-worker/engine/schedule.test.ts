import { describe, expect, test } from "vitest";
import { passMs } from "../../../gpu-worker/engine/costs.ts";
import type { Holder } from "../../../gpu-worker/engine/memory-plan.ts";
import { type Plan, type Room, schedule, type Work } from "../../../gpu-worker/engine/schedule.ts";
import type { PassCosts } from "../../../shared/engine.ts";
import { Random } from "../../helpers/random.ts";

const COSTS: PassCosts = { pass: 6, row: 0.3, wanted: 0.1, context: 0.3, heads: 0.5 };
const ROOM: Room = { rows: 512, pages: 10_000, costs: COSTS, passMs: 60 };
const CHANCES = [230, 180, 140, 110, 90, 75, 60, 50, 42, 36, 30, 26, 22, 19, 16, 14, 12, 10, 8, 6];

function step(id: number, chances: readonly number[] = CHANCES, length = 100, trust = 1): Work {
  const pages = Math.ceil(length / 16);
  return {
    id,
    age: id,
    pages,
    own: pages,
    stale: false,
    length,
    kind: "step",
    chances: Uint8Array.from(chances),
    heads: true,
    trust,
  };
}

function extend(id: number, rows: number, length = 0): Work {
  const pages = Math.ceil(length / 16);
  return { id, age: id, pages, own: pages, stale: false, length, kind: "extend", rows, heads: true };
}

function rowsOf(plan: Plan, id: number): number {
  return plan.items.find((item) => item.id === id)?.rows ?? 0;
}

describe("drafted nodes", () => {
  /** Tokens per millisecond of a pass that verifies so many nodes of each step. */
  function rate(steps: readonly Work[], nodes: readonly number[]): number {
    let expected = steps.length;
    const context = steps.reduce((sum, { length }, i) => sum + ((1 + nodes[i]!) * length) / 1024, 0);
    const rows = steps.length + nodes.reduce((a, b) => a + b, 0);
    for (const [i, work] of steps.entries()) {
      if (work.kind === "step") for (let n = 0; n < nodes[i]!; n++) expected += (work.trust * work.chances[n]!) / 255;
    }
    return expected / passMs(COSTS, { rows, wanted: rows, context, heads: steps.length });
  }

  test("are as many as bring the most tokens per millisecond, over all sessions: no other choice is better", () => {
    const random = new Random(1);
    for (let round = 0; round < 200; round++) {
      const steps = Array.from({ length: random.int(1, 3) }, (_, id) => {
        const chances = Array.from({ length: random.int(0, 5) }, () => random.int(1, 254)).sort((a, b) => b - a);
        return step(id, chances, random.int(1, 3000), random.int(5, 12) / 10);
      });
      const plan = schedule(steps, [], ROOM);
      const chosen = steps.map(({ id }) => rowsOf(plan, id) - 1);
      let best = 0;
      const tryAll = (nodes: number[]) => {
        const next = steps[nodes.length];
        if (next === undefined) best = Math.max(best, rate(steps, nodes));
        else for (let n = 0; n <= (next.kind === "step" ? next.chances.length : 0); n++) tryAll([...nodes, n]);
      };
      tryAll([]);
      expect(rate(steps, chosen)).toBeCloseTo(best, 9);
    }
  });

  test("are fewer the more sessions share the pass, down to none where rows are all that a pass costs", () => {
    const nodes = [1, 2, 4, 8, 16, 32].map((count) => {
      const plan = schedule(
        Array.from({ length: count }, (_, id) => step(id)),
        [],
        ROOM,
      );
      return rowsOf(plan, 0) - 1;
    });
    expect(nodes).toEqual(nodes.toSorted((a, b) => b - a));
    expect(nodes[0]).toBeGreaterThan(nodes[5]!);
    const dear = { ...ROOM, costs: { pass: 0.1, row: 5, wanted: 0, context: 0, heads: 0 } };
    expect(schedule([step(0), step(1)], [], dear).items.map(({ rows }) => rows)).toEqual([1, 1]);
  });

  test("that insist are verified whatever they cost, as long as there is room", () => {
    const insisting = step(0, new Array(30).fill(255));
    const dear = { ...ROOM, costs: { ...COSTS, row: 50 } };
    expect(rowsOf(schedule([insisting], [], dear), 0)).toBe(31);
    expect(rowsOf(schedule([insisting], [], { ...dear, rows: 20 }), 0)).toBe(1);
  });

  test("of a session are those at least as likely as its threshold, which says what would pay", () => {
    const { items } = schedule([step(0), step(1, [255, 40, 40, 3])], [], ROOM);
    for (const { rows, threshold, id } of items) {
      const chances = id === 0 ? CHANCES : [255, 40, 40, 3];
      expect(chances.filter((chance) => chance >= threshold)).toHaveLength(rows - 1);
      expect(threshold).toBeGreaterThan(0);
    }
    const [alone] = schedule([step(0, [])], [], ROOM).items;
    expect(alone!.threshold).toBeGreaterThan(5);
    expect(alone!.threshold).toBeLessThan(40);
  });

  test("never take pages from anybody", () => {
    const { items, preempted } = schedule([step(0, CHANCES, 96), step(1, CHANCES, 96)], [], { ...ROOM, pages: 2 });
    // Both roots need a page; the two that are left hold them and fifteen nodes each.
    expect(items).toHaveLength(2);
    expect(Math.max(...items.map(({ rows }) => rows))).toBeLessThanOrEqual(16);
    expect(preempted).toEqual([]);
  });
});

describe("prompts", () => {
  test("run as fast as they can while nobody waits for a step", () => {
    expect(rowsOf(schedule([extend(0, 1000)], [], { ...ROOM, passMs: 1e6 }), 0)).toBe(512);
  });

  test("share a pass with steps in pieces that keep it short", () => {
    const works = [step(0), extend(1, 4000), step(2)];
    const plan = schedule(works, [], ROOM);
    expect(plan.items.map(({ id }) => id).sort()).toEqual([0, 1, 2]);
    const rows = plan.items.reduce((sum, item) => sum + item.rows, 0);
    const steps = rows - rowsOf(plan, 1);
    const ms = passMs(COSTS, { rows, wanted: steps, context: steps * 0.1, heads: 2 });
    expect(ms).toBeLessThan(61);
    expect(ms).toBeGreaterThan(50);
  });

  test("a short one does not wait for a long one, which still gets half", () => {
    const plan = schedule([extend(0, 4000), extend(1, 30), extend(2, 300)], [], { ...ROOM, passMs: 66 });
    expect(rowsOf(plan, 1)).toBe(30);
    expect(rowsOf(plan, 0)).toBeGreaterThanOrEqual(100);
    expect(rowsOf(plan, 2)).toBeGreaterThan(0);
  });

  test("the longest waiting gets on a little even in a pass that is too long already", () => {
    const plan = schedule([...Array.from({ length: 40 }, (_, i) => step(i + 1, [], 3000)), extend(0, 500)], [], {
      ...ROOM,
      passMs: 10,
    });
    expect(rowsOf(plan, 0)).toBe(16);
  });

  test("begin only where all of them fits", () => {
    const plan = schedule([step(0, []), extend(1, 200)], [], { ...ROOM, pages: 10 });
    expect(plan).toMatchObject({ items: [{ id: 0 }], preempted: [] });
    expect(schedule([step(0, []), extend(1, 150)], [], { ...ROOM, pages: 12 }).items).toHaveLength(2);
  });
});

describe("memory", () => {
  test("the oldest that waits takes what it lacks from the youngest", () => {
    const plan = schedule([step(2, [], 160), step(1, [], 160), step(0, [], 160)], [], { ...ROOM, pages: 0 });
    // The two older ones have a page each of the ten that the youngest gave up.
    expect(plan.preempted).toEqual([2]);
    expect(plan.items.map(({ id }) => id).sort()).toEqual([0, 1]);
  });

  test("others wait", () => {
    const plan = schedule([step(5, [], 160)], [{ id: 1, age: 1, pages: 10, own: 10, stale: false }], {
      ...ROOM,
      pages: 0,
    });
    expect(plan).toEqual({ items: [], preempted: [] });
  });

  test("unless a peer has been silent for long", () => {
    const plan = schedule([step(5, [], 160)], [{ id: 1, age: 1, pages: 10, own: 10, stale: true }], {
      ...ROOM,
      pages: 0,
    });
    expect(plan).toMatchObject({ items: [{ id: 5 }], preempted: [1] });
  });
});

test("what several hold is not free when one of them gives it up", () => {
  const shared = { ...step(1, [], 160), own: 2 };
  const plan = schedule([extend(0, 100), shared, { ...step(2, [], 160), own: 1 }], [], { ...ROOM, pages: 0 });
  expect(plan).toMatchObject({ items: [{ id: 0, rows: 48 }], preempted: [2, 1] });
});

test("any plan keeps to rows, pages and sessions, and somebody gets on wherever that is possible", () => {
  const random = new Random(2);
  for (let round = 0; round < 3000; round++) {
    const room = { ...ROOM, rows: random.int(24, 80), pages: random.int(0, 12), passMs: random.int(1, 40) };
    const waiting: Work[] = [];
    const others: Holder[] = [];
    const count = random.int(1, 8);
    for (let id = 0; id < count; id++) {
      const length = random.int(0, 120);
      const pages = Math.ceil(length / 16);
      if (random.chance(0.2)) others.push({ id, age: id, pages, own: pages, stale: random.chance(0.3) });
      else if (random.chance(0.5)) waiting.push(extend(id, random.int(1, 150), length));
      else
        waiting.push(
          step(
            id,
            Array.from({ length: random.int(0, 9) }, () => random.int(0, 255)),
            length,
          ),
        );
    }
    if (waiting.length === 0) continue;
    const order = waiting.toSorted(() => random.unit() - 0.5);
    const { items, preempted } = schedule(order, others, room);
    const holders = [...waiting, ...others];
    const gone = new Set(preempted);
    expect(items.some(({ id }) => gone.has(id))).toBe(false);
    expect(new Set(items.map(({ id }) => id)).size).toBe(items.length);
    expect(items.reduce((sum, { rows }) => sum + rows, 0)).toBeLessThanOrEqual(room.rows);
    let pages = room.pages + holders.reduce((sum, holder) => sum + (gone.has(holder.id) ? holder.pages : 0), 0);
    for (const { id, rows } of items) {
      const work = waiting.find((one) => one.id === id)!;
      pages -= Math.max(0, Math.ceil((work.length + rows) / 16) - work.pages);
    }
    expect(pages).toBeGreaterThanOrEqual(0);
    const eldest = waiting.reduce((a, b) => (a.age < b.age ? a : b));
    const olderHolds = others.some(({ age, stale, pages: held }) => age < eldest.age && !stale && held > 0);
    const all = room.pages + holders.reduce((sum, holder) => sum + holder.pages, 0);
    const needed = Math.ceil((eldest.length + 16) / 16);
    if (!olderHolds && all >= needed) expect(items.length).toBeGreaterThan(0);
  }
});
