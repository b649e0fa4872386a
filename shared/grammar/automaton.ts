import { type Expression, type Grammar, GrammarError, ROOT_RULE } from "./expression.ts";
import { type ByteEdge, keepFinishing, marked, type Node, refuseLeftRecursion } from "./places.ts";
import { type ByteRanges, encodeUtf8, utf8Ranges } from "./utf8.ts";

/** A grammar as one automaton over bytes per rule, which call one another: a pushdown automaton. */
export interface Automaton {
  readonly nodes: readonly Node[];
  /** [rules] where each begins. */
  readonly starts: readonly number[];
  readonly root: number;
}

/** Places in all rules together, and ways out of them by bytes. */
const MAX_NODES = 1 << 15;
const MAX_EDGES = 1 << 16;

/**
 * Whatever cannot lead to an end is left out, so that every prefix the automaton allows can be completed. `writable`
 * tells which bytes there are tokens for. Throws GrammarError for undefined and left-recursive rules, for a grammar too
 * large, and for one that allows no text.
 */
export function buildAutomaton(grammar: Grammar, writable: (byte: number) => boolean): Automaton {
  for (const rule of grammar.values()) refuseUndefined(rule, grammar);
  if ([...grammar.values()].reduce((sum, rule) => sum + leastNodes(rule), 0) > MAX_NODES) throw tooManyNodes();
  const names = [...grammar.keys()];
  const builder = new Builder(new Map(names.map((name, i) => [name, i])), writable);
  const starts = names.map((name) => builder.rule(grammar.get(name)!));
  const { nodes } = builder;
  starts.push(...builder.sharedStarts);
  const finishing = marked(nodes, starts, true);
  const root = names.indexOf(ROOT_RULE);
  if (finishing[starts[root]!] === 0) throw new GrammarError("it allows no text at all");
  keepFinishing(nodes, starts, finishing);
  refuseLeftRecursion(nodes, starts, names);
  return { nodes, starts, root };
}

/** Before any of the automaton is made, which is most of the work. Throws GrammarError. */
function refuseUndefined(expression: Expression, grammar: Grammar): void {
  if (expression.kind === "sequence") for (const part of expression.parts) refuseUndefined(part, grammar);
  else if (expression.kind === "choice") for (const option of expression.options) refuseUndefined(option, grammar);
  else if (expression.kind === "repeat") refuseUndefined(expression.of, grammar);
  else if (expression.kind === "reference" && !grammar.has(expression.rule)) {
    throw new GrammarError(`there is no rule '${expression.rule}'`);
  }
}

/**
 * Places that an expression takes at least, where none counts as one, since repetitions of nothing take time all the same. So
 * what repetitions within repetitions would make too large is refused before any of it is made.
 */
function leastNodes(expression: Expression): number {
  switch (expression.kind) {
    case "literal":
      // In a choice its last byte leads to where the choice ends.
      return Math.max(1, expression.text.length - 1);
    case "sequence":
      return Math.max(1, sumOf(expression.parts));
    case "choice":
      return Math.max(...expression.options.map(leastNodes));
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

const NONE: never[] = [];

/** The first items are the list, which then is no longer than it must be; a list that goes on grows. */
function appended<T>(list: T[], items: T[]): T[] {
  if (list.length === 0) return items;
  for (const item of items) list.push(item);
  return list;
}

class Builder {
  readonly nodes: Node[] = [];
  readonly #rules: ReadonlyMap<string, number>;
  readonly #writable: (byte: number) => boolean;
  /** Where the rules begin that stand for classes, after those of the grammar. */
  readonly sharedStarts: number[] = [];
  readonly #shared = new Map<Expression, number>();
  #edges = 0;
  readonly #paths = new Map<Expression, readonly (readonly ByteRanges[])[]>();

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
    return this.nodes.push({ bytes: NONE, rules: NONE, free: NONE, end: false }) - 1;
  }

  /** Adds what leads from `from` through the expression; returns where that ends. */
  #add(expression: Expression, from: number): number {
    switch (expression.kind) {
      case "literal":
        return expression.text === "" ? from : this.#literal(expression.text, from, this.#node());
      case "class": {
        const to = this.#node();
        const rule = this.#shared.get(expression);
        if (rule !== undefined) return this.#call(rule, from, to);
        for (const path of this.#pathsOf(expression)) this.#bytes(from, path, to);
        return to;
      }
      case "sequence":
        return expression.parts.reduce((at, part) => this.#add(part, at), from);
      case "choice": {
        const to = this.#node();
        for (const option of expression.options) {
          if (option.kind === "literal" && option.text !== "") {
            this.#literal(option.text, from, to);
            continue;
          }
          const start = this.#free(from, this.#node());
          this.#free(this.#add(option, start), to);
        }
        return to;
      }
      case "reference":
        return this.#call(this.#rules.get(expression.rule)!, from, this.#node());
      case "repeat":
        return this.#repeat(expression, from);
    }
  }

  #literal(text: string, from: number, to: number): number {
    return this.#bytes(
      from,
      encodeUtf8(text).map((byte) => this.#writableRuns(byte, byte)),
      to,
    );
  }

  #call(rule: number, from: number, to: number): number {
    const node = this.nodes[from]!;
    node.rules = appended(node.rules, [{ rule, to }]);
    return to;
  }

  /** A class whose code points take several bytes becomes a rule: spelled out in each repetition it would take many places. */
  #share(expression: Expression): void {
    if (expression.kind !== "class" || this.#shared.has(expression)) return;
    if (this.#pathsOf(expression).every((path) => path.length === 1)) return;
    const start = this.rule(expression);
    this.#shared.set(expression, this.#rules.size + this.sharedStarts.push(start) - 1);
  }

  #repeat({ of, least, most }: Expression & { kind: "repeat" }, from: number): number {
    if (Math.max(least, most ?? 0) > 1) this.#share(of);
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
      at = this.#add(of, at);
    }
    return this.#free(at, to);
  }

  /** From `from` byte by byte to `to`, each byte in one of its runs. */
  #bytes(from: number, path: readonly ByteRanges[], to: number): number {
    let at = from;
    for (let i = 0; i < path.length; i++) {
      const next = i === path.length - 1 ? to : this.#node();
      this.#edges += path[i]!.length;
      if (this.#edges > MAX_EDGES) throw tooManyNodes();
      const edges = path[i]!.map(([low, high]): ByteEdge => ({ low, high, to: next }));
      const node = this.nodes[at]!;
      node.bytes = appended(node.bytes, edges);
      at = next;
    }
    return to;
  }

  /** A class as sequences of bytes, of each the runs that it may be in. A class that is repeated is spelled once. */
  #pathsOf(expression: Expression & { kind: "class" }): readonly (readonly ByteRanges[])[] {
    const known = this.#paths.get(expression);
    if (known !== undefined) return known;
    const paths = expression.ranges
      .flatMap((range) => utf8Ranges(range))
      .map((ranges) => ranges.map(([low, high]) => this.#writableRuns(low, high)));
    this.#paths.set(expression, paths);
    return paths;
  }

  /** Of the range, the bytes that can be written. */
  #writableRuns(low: number, high: number): ByteRanges {
    const runs: [number, number][] = [];
    for (let first = low; first <= high; first++) {
      if (!this.#writable(first)) continue;
      let last = first;
      while (last < high && this.#writable(last + 1)) last++;
      runs.push([first, last]);
      first = last;
    }
    return runs;
  }

  #free(from: number, to: number): number {
    const node = this.nodes[from]!;
    node.free = appended(node.free, [to]);
    return to;
  }
}
