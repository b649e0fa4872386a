import { GrammarError } from "./expression.ts";

/** Places in the rules of a grammar, and which of them lead to an end. */

/** One byte in [low, high], to `to`. */
export interface ByteEdge {
  readonly low: number;
  readonly high: number;
  readonly to: number;
}

/** Through all of another rule, then to `to`. */
export interface RuleEdge {
  readonly rule: number;
  readonly to: number;
}

/** A place in a rule. Lists are made as long as they are, since most have one element and room for more is what memory goes to. */
export interface Node {
  bytes: ByteEdge[];
  rules: RuleEdge[];
  /** Without a byte. */
  free: number[];
  /** Whether the rule is over here. */
  end: boolean;
}

/** Removes edges to places from which the rule cannot end. */
export function keepFinishing(nodes: readonly Node[], starts: readonly number[], finishing: Uint8Array): void {
  const finishes = (node: number) => finishing[node] === 1;
  if (finishing.every((mark) => mark === 1)) return;
  for (const node of nodes) {
    node.bytes = node.bytes.filter(({ to }) => finishes(to));
    node.free = node.free.filter(finishes);
    node.rules = node.rules.filter(({ rule, to }) => finishes(to) && finishes(starts[rule]!));
  }
}

/** [nodes] 1 for places from which the end of the rule can be reached; without bytes, unless those are `allowed`. */
export function marked(nodes: readonly Node[], starts: readonly number[], allowed: boolean): Uint8Array {
  const before = new Before(nodes, allowed);
  /** [rules] edges that wait for the rule to be found to end, and by where they lead to. */
  const callers: [number, RuleEdge][][] = starts.map(() => []);
  const callsBefore = new Map<number, [number, RuleEdge][]>();
  const found = new Uint8Array(nodes.length);
  const open: number[] = [];
  const mark = (node: number) => {
    if (found[node] === 1) return;
    found[node] = 1;
    open.push(node);
  };
  for (const [i, node] of nodes.entries()) {
    for (const edge of node.rules) {
      callers[edge.rule]!.push([i, edge]);
      callsBefore.set(edge.to, [...(callsBefore.get(edge.to) ?? []), [i, edge]]);
    }
    if (node.end) mark(i);
  }
  const ruleAt = new Map(starts.map((start, rule) => [start, rule]));
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    before.each(node, mark);
    for (const [from, { rule }] of callsBefore.get(node) ?? []) if (found[starts[rule]!] === 1) mark(from);
    const rule = ruleAt.get(node);
    if (rule !== undefined) for (const [from, { to }] of callers[rule]!) if (found[to] === 1) mark(from);
  }
  return found;
}

/** Places from which one leads to another, by a byte or without: chains in flat arrays. */
class Before {
  readonly #last: Int32Array;
  readonly #from: Int32Array;
  readonly #earlier: Int32Array;

  constructor(nodes: readonly Node[], bytes: boolean) {
    const edges = nodes.reduce((sum, node) => sum + node.free.length + (bytes ? node.bytes.length : 0), 0);
    this.#last = new Int32Array(nodes.length).fill(-1);
    this.#from = new Int32Array(edges);
    this.#earlier = new Int32Array(edges);
    let edge = 0;
    const add = (from: number, to: number) => {
      this.#from[edge] = from;
      this.#earlier[edge] = this.#last[to]!;
      this.#last[to] = edge++;
    };
    for (const [i, node] of nodes.entries()) {
      if (bytes) for (const { to } of node.bytes) add(i, to);
      for (const to of node.free) add(i, to);
    }
  }

  each(node: number, visit: (from: number) => void): void {
    for (let edge = this.#last[node]!; edge >= 0; edge = this.#earlier[edge]!) visit(this.#from[edge]!);
  }
}

/** A rule that may begin with itself would be entered again and again without a byte. */
export function refuseLeftRecursion(nodes: readonly Node[], starts: readonly number[], names: readonly string[]): void {
  const empty = marked(nodes, starts, false);
  const begins = starts.map((start) => firstRules(nodes, start, (rule) => empty[starts[rule]!] === 1));
  const done = new Set<number>();
  const onPath = new Set<number>();
  const visit = (rule: number): void => {
    if (done.has(rule)) return;
    if (onPath.has(rule)) throw new GrammarError(`rule '${names[rule]}' is left-recursive`);
    onPath.add(rule);
    if (onPath.size > MAX_CALLS) throw new GrammarError("its rules are nested too deeply");
    for (const next of begins[rule]!) visit(next);
    onPath.delete(rule);
    done.add(rule);
  };
  for (const rule of starts.keys()) visit(rule);
}

/** Rules that call each other before the first byte. */
const MAX_CALLS = 1000;

/** Rules that may be entered before the first byte. */
function firstRules(nodes: readonly Node[], start: number, mayBeEmpty: (rule: number) => boolean): Set<number> {
  const rules = new Set<number>();
  const seen = new Set([start]);
  for (const at of seen) {
    for (const to of nodes[at]!.free) seen.add(to);
    for (const { rule, to } of nodes[at]!.rules) {
      rules.add(rule);
      if (mayBeEmpty(rule)) seen.add(to);
    }
  }
  return rules;
}
