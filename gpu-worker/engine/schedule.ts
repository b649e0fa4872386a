import { CERTAIN } from "../../shared/draft-tree.ts";
import type { PassCosts } from "../../shared/engine.ts";
import { passMs } from "./costs.ts";
import { type Holder, MemoryPlan } from "./memory-plan.ts";

/** What a session wants of the next passes. */
export type Work = Holder & {
  /** Tokens in the cache. */
  readonly length: number;
  /** Whether a lattice is made once a token was due. */
  readonly heads: boolean;
} & (
    | {
        /** Tokens to run through the model: a prompt, or a text that has to be computed again. */
        readonly kind: "extend";
        readonly rows: number;
      }
    | {
        readonly kind: "step";
        /** [drafted nodes] as in DraftTree. */
        readonly chances: Uint8Array;
        /** Tokens that come true for each that the chances promise. */
        readonly trust: number;
      }
  );

type Step = Extract<Work, { kind: "step" }>;
type Extend = Extract<Work, { kind: "extend" }>;

/** What a pass may take. */
export interface Room {
  readonly rows: number;
  /** Pages that nobody holds. */
  readonly pages: number;
  readonly costs: PassCosts;
  /** Longest pass that prompts may make, ms: what they may delay other sessions by. */
  readonly passMs: number;
}

export interface PlannedItem {
  readonly id: number;
  /** Of an `extend`: tokens run now; of a `step`: 1 + the nodes verified. */
  readonly rows: number;
  /** Of a `step`: nodes of at least this chance are verified. */
  readonly threshold: number;
}

/** One pass, and the sessions that lose their pages before it. */
export interface Plan {
  readonly items: readonly PlannedItem[];
  readonly preempted: readonly number[];
}

/** The least that a pass runs of the prompt that has waited longest, however full it is. */
const LEAST_ROWS = 16;

/**
 * The next pass, from what is waiting, memory and costs:
 *
 * - every step takes part with its root; prompts share the pass in pieces that keep it below `passMs`;
 * - drafted nodes are admitted, the likeliest of all sessions first, while they raise the expected number of tokens
 *   per millisecond, (steps + sum of chances) / time;
 * - memory goes to older sessions first; the oldest that waits takes what it lacks from the youngest holders.
 *
 * `waiting` is in the order in which its sessions began to wait, `others` are those that hold pages and wait for
 * nothing.
 */
export function schedule(waiting: readonly Work[], others: readonly Holder[], room: Room): Plan {
  const memory = new MemoryPlan(waiting, others, room.pages);
  const asked = waiting.filter((work) => work.kind === "step").slice(0, room.rows);
  const byAge = asked.toSorted((a, b) => a.age - b.age);
  const granted = new Set(byAge.filter((step) => memory.reserve(step, step.length + 1)));
  const steps = asked.filter((step) => granted.has(step) && !memory.preempted.has(step.id));
  const thresholds = admit(steps, room, memory);
  const items: PlannedItem[] = steps.map((step) => {
    const threshold = thresholds.get(step.id)!;
    return { id: step.id, rows: 1 + nodesAt(step, threshold), threshold };
  });
  const extends_ = waiting.filter((work) => work.kind === "extend");
  items.push(...prefills(extends_, steps, items, room, memory));
  return { items: items.filter(({ id }) => !memory.preempted.has(id)), preempted: [...memory.preempted] };
}

function nodesAt({ chances }: Step, threshold: number): number {
  let nodes = 0;
  for (const chance of chances) if (chance >= threshold) nodes++;
  return nodes;
}

/** Threshold of each step, above 255 where no node is let in. */
function admit(steps: readonly Step[], { rows, costs }: Room, memory: MemoryPlan): Map<number, number> {
  const thresholds = new Map(steps.map(({ id }) => [id, CERTAIN + 1]));
  const full = new Set<Step>();
  let ms = stepsMs(steps, costs);
  let expected = steps.length;
  let left = rows - steps.length;
  // In order of what a node brings for its time: the first that does not pay is the last looked at.
  for (const { step, chance, nodes, perMs } of levels(steps, costs)) {
    if (perMs * ms < expected) break;
    if (full.has(step)) continue;
    if (nodes > left || !memory.extend(step, step.length + 1 + nodesAt(step, chance))) {
      // Its unlikelier nodes hang below these.
      full.add(step);
      continue;
    }
    thresholds.set(step.id, chance);
    left -= nodes;
    ms += nodes * rowMs(step, costs);
    expected += nodes * likelihood(step, chance);
  }
  for (const step of steps) {
    // Nodes that nobody drafted may be worth it, too: the threshold says from where on.
    const worth = Math.max(1, Math.ceil(((expected / ms) * rowMs(step, costs) * CERTAIN) / step.trust));
    const threshold = thresholds.get(step.id)!;
    if (worth < threshold && nodesAt(step, worth) === nodesAt(step, threshold)) thresholds.set(step.id, worth);
  }
  return thresholds;
}

/** Time of a pass over the roots alone. */
function stepsMs(steps: readonly Step[], costs: PassCosts): number {
  const context = steps.reduce((sum, { length }) => sum + length / 1024, 0);
  const heads = steps.filter((step) => step.heads).length;
  return passMs(costs, { rows: steps.length, wanted: steps.length, context, heads });
}

/** Time of one more row of a session. */
function rowMs({ length }: Step, costs: PassCosts): number {
  return costs.row + costs.wanted + (costs.context * length) / 1024;
}

/** How likely a node of this chance is to be accepted. */
function likelihood({ trust }: Step, chance: number): number {
  return chance === CERTAIN ? 1 : (chance * trust) / CERTAIN;
}

interface Level {
  readonly step: Step;
  readonly chance: number;
  readonly nodes: number;
  /** Expected tokens per millisecond of their own time; Infinity for nodes that insist. */
  readonly perMs: number;
}

/** Nodes of one chance and session together, best first; ties go to those who have waited longer. */
function levels(steps: readonly Step[], costs: PassCosts): Level[] {
  const all = steps.flatMap((step) => {
    const counts = new Map<number, number>();
    for (const chance of step.chances) if (chance > 0) counts.set(chance, (counts.get(chance) ?? 0) + 1);
    const ms = rowMs(step, costs);
    return [...counts].map(([chance, nodes]): Level => {
      return { step, chance, nodes, perMs: chance === CERTAIN ? Infinity : likelihood(step, chance) / ms };
    });
  });
  return all.sort((a, b) => (a.perMs === b.perMs ? b.chance - a.chance : b.perMs - a.perMs));
}

/**
 * Pieces of prompts for the rows and the time that are left. The one that has waited longest has half of them, so
 * that it gets on; short ones come before long ones with the rest, so that they do not wait for these.
 */
function prefills(
  extends_: readonly Extend[],
  steps: readonly Step[],
  planned: readonly PlannedItem[],
  { rows, costs, passMs: longest }: Room,
  memory: MemoryPlan,
): PlannedItem[] {
  const [first, ...rest] = extends_;
  if (first === undefined) return [];
  const stepRows = planned.reduce((sum, item) => sum + item.rows, 0);
  let left = rows - stepRows;
  let ms = stepsMs(steps, costs) + (stepRows - steps.length) * (costs.row + costs.wanted);
  const counts = new Map<Extend, number>();
  const give = (work: Extend, most: number) => {
    const each = costs.row + (costs.context * work.length) / 1024;
    const before = counts.get(work) ?? 0;
    const done = work.length + before;
    const wanted = Math.min(work.rows - before, left, most, Math.floor((longest - ms) / each));
    if (wanted <= 0) return;
    const count = Math.max(0, memory.begin(work, work.length + work.rows, done + wanted) - done);
    counts.set(work, before + count);
    left -= count;
    ms += count * each;
  };
  const each = costs.row + (costs.context * first.length) / 1024;
  const all = Math.floor((longest - ms) / each);
  const share = Math.max(rest.length > 0 ? Math.ceil(all / 2) : all, LEAST_ROWS);
  // Its least piece is not a question of time.
  if (all < LEAST_ROWS) ms = longest - LEAST_ROWS * each;
  give(first, share);
  for (const work of rest.toSorted((a, b) => a.rows - b.rows)) give(work, left);
  give(first, left);
  return extends_.flatMap((work) => {
    const count = counts.get(work) ?? 0;
    return count === 0 ? [] : [{ id: work.id, rows: count, threshold: 0 }];
  });
}
