import { type Expression, type Grammar, GrammarError, ROOT_RULE } from "./expression.ts";
import { type ByteRanges, encodeUtf8, utf8Ranges } from "./utf8.ts";

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

/** A place in a rule. */
export interface Node {
  readonly bytes: ByteEdge[];
  readonly rules: RuleEdge[];
  /** Without a byte. */
  readonly free: number[];
  /** Whether the rule is over here. */
  end: boolean;
}

/** A grammar as one automaton over bytes per rule, which call one another: a pushdown automaton. */
export interface Automaton {
  readonly nodes: readonly Node[];
  /** [rules] where each begins. */
  readonly starts: readonly number[];
  readonly root: number;
}

/** Places in all rules together. */
const MAX_NODES = 1 << 17;

/**
 * Whatever cannot lead to an end is left out, so that every prefix the automaton allows can be completed. `writable`
 * tells which bytes there are tokens for. Throws GrammarError for undefined and left-recursive rules, for a grammar too
 * large, and for one that allows no text.
 */
export function buildAutomaton(grammar: Grammar, writable: (byte: number) => boolean): Automaton {
  if ([...grammar.values()].reduce((sum, rule) => sum + leastNodes(rule), 0) > MAX_NODES) throw tooManyNodes();
  const names = [...grammar.keys()];
  const builder = new Builder(new Map(names.map((name, i) => [name, i])), writable);
  const starts = names.map((name) => builder.rule(grammar.get(name)!));
  const { nodes } = builder;
  keepFinishing(nodes, starts);
  const root = names.indexOf(ROOT_RULE);
  refuseLeftRecursion(nodes, starts, names);
  const { bytes, rules, free, end } = nodes[starts[root]!]!;
  if (bytes.length + rules.length + free.length === 0 && !end) throw new GrammarError("it allows no text at all");
  return { nodes, starts, root };
}

/**
 * Places that an expression takes at least, where none counts as one, since repetitions of nothing take time all the same. So
 * what repetitions within repetitions would make too large is refused before any of it is made.
 */
function leastNodes(expression: Expression): number {
  switch (expression.kind) {
    case "literal":
      return Math.max(1, expression.text.length);
    case "sequence":
      return Math.max(1, sumOf(expression.parts));
    case "choice":
      return sumOf(expression.options);
    case "repeat":
      return Math.max(1, expression.least, expression.most ?? 0) * leastNodes(expression.of);
    case "class":
    case "reference":
      return 1;
  }
}

function sumOf(expressions: readonly Expression[]): number {
  return expressions.reduce((sum, one) => sum + leastNodes(one), 0);
}

function tooManyNodes(): GrammarError {
  return new GrammarError("it is too large");
}

class Builder {
  readonly nodes: Node[] = [];
  readonly #rules: ReadonlyMap<string, number>;
  readonly #writable: (byte: number) => boolean;

  constructor(rules: ReadonlyMap<string, number>, writable: (byte: number) => boolean) {
    this.#rules = rules;
    this.#writable = writable;
  }

  /** Where it begins. */
  rule(expression: Expression): number {
    const start = this.#node();
    this.nodes[this.#add(expression, start)]!.end = true;
    return start;
  }

  #node(): number {
    if (this.nodes.length >= MAX_NODES) throw tooManyNodes();
    return this.nodes.push({ bytes: [], rules: [], free: [], end: false }) - 1;
  }

  /** Adds what leads from `from` through the expression; returns where that ends. */
  #add(expression: Expression, from: number): number {
    switch (expression.kind) {
      case "literal":
        return encodeUtf8(expression.text).reduce((at, byte) => this.#byte(at, byte, byte, this.#node()), from);
      case "class": {
        const to = this.#node();
        for (const range of expression.ranges)
          for (const ranges of utf8Ranges(range)) this.#codePoints(from, ranges, to);
        return to;
      }
      case "sequence":
        return expression.parts.reduce((at, part) => this.#add(part, at), from);
      case "choice": {
        const to = this.#node();
        for (const option of expression.options) {
          const start = this.#free(from, this.#node());
          this.#free(this.#add(option, start), to);
        }
        return to;
      }
      case "reference": {
        const rule = this.#rules.get(expression.rule);
        if (rule === undefined) throw new GrammarError(`there is no rule '${expression.rule}'`);
        const to = this.#node();
        this.nodes[from]!.rules.push({ rule, to });
        return to;
      }
      case "repeat":
        return this.#repeat(expression, from);
    }
  }

  #repeat({ of, least, most }: Expression & { kind: "repeat" }, from: number): number {
    let at = from;
    for (let i = 0; i < least; i++) at = this.#add(of, at);
    if (most === null) {
      const loop = this.#free(at, this.#node());
      this.#free(this.#add(of, loop), loop);
      return this.#free(loop, this.#node());
    }
    const to = this.#node();
    for (let i = least; i < most; i++) {
      this.#free(at, to);
      at = this.#add(of, this.#free(at, this.#node()));
    }
    return this.#free(at, to);
  }

  #codePoints(from: number, ranges: ByteRanges, to: number): void {
    let at = from;
    for (const [i, [low, high]] of ranges.entries()) {
      at = this.#byte(at, low, high, i === ranges.length - 1 ? to : this.#node());
    }
  }

  /** Of the range, the bytes that can be written. */
  #byte(from: number, low: number, high: number, to: number): number {
    for (let first = low; first <= high; first++) {
      if (!this.#writable(first)) continue;
      let last = first;
      while (last < high && this.#writable(last + 1)) last++;
      this.nodes[from]!.bytes.push({ low: first, high: last, to });
      first = last;
    }
    return to;
  }

  #free(from: number, to: number): number {
    this.nodes[from]!.free.push(to);
    return to;
  }
}

/** Removes edges to places from which the rule cannot end. */
function keepFinishing(nodes: Node[], starts: readonly number[]): void {
  const finishing = marked(nodes, starts, true);
  for (const node of nodes) {
    keep(node.bytes, ({ to }) => finishing.has(to));
    keep(node.free, (to) => finishing.has(to));
    keep(node.rules, ({ rule, to }) => finishing.has(to) && finishing.has(starts[rule]!));
  }
}

function keep<T>(list: T[], wanted: (item: T) => boolean): void {
  list.splice(0, list.length, ...list.filter(wanted));
}

/** Places from which the end of the rule can be reached; without bytes, unless those are `allowed`. */
function marked(nodes: readonly Node[], starts: readonly number[], allowed: boolean): ReadonlySet<number> {
  const before: number[][] = nodes.map(() => []);
  /** [rules] edges that wait for the rule to be found to end. */
  const callers: [number, RuleEdge][][] = starts.map(() => []);
  const found = new Set<number>();
  const open: number[] = [];
  const mark = (node: number) => {
    if (found.has(node)) return;
    found.add(node);
    open.push(node);
  };
  const callsBefore: [number, RuleEdge][][] = nodes.map(() => []);
  for (const [i, node] of nodes.entries()) {
    if (allowed) for (const { to } of node.bytes) before[to]!.push(i);
    for (const to of node.free) before[to]!.push(i);
    for (const edge of node.rules) {
      callers[edge.rule]!.push([i, edge]);
      callsBefore[edge.to]!.push([i, edge]);
    }
    if (node.end) mark(i);
  }
  const ruleAt = new Map(starts.map((start, rule) => [start, rule]));
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (const earlier of before[node]!) mark(earlier);
    for (const [from, { rule }] of callsBefore[node]!) if (found.has(starts[rule]!)) mark(from);
    const rule = ruleAt.get(node);
    if (rule !== undefined) for (const [from, { to }] of callers[rule]!) if (found.has(to)) mark(from);
  }
  return found;
}

/** A rule that may begin with itself would be entered again and again without a byte. */
function refuseLeftRecursion(nodes: readonly Node[], starts: readonly number[], names: readonly string[]): void {
  const empty = marked(nodes, starts, false);
  const begins = starts.map((start) => firstRules(nodes, start, (rule) => empty.has(starts[rule]!)));
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
