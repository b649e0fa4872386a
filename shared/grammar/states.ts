import type { Automaton } from "./automaton.ts";
import type { ByteEdge, Node } from "./places.ts";

/** What is left to do once a rule is over: go on at `node` of the rule that called it, then what is below. */
interface Stack {
  readonly id: number;
  /** -1 at the bottom. */
  readonly node: number;
  readonly below: Stack | null;
  readonly above: Map<number, Stack>;
}

/** One of the ways in which the text so far can be read. */
interface Reading {
  readonly node: number;
  readonly stack: Stack;
}

/** How far a text has come in a grammar. Two texts that can go on in the same ways mostly share one. */
export interface State {
  /** Whether the text may end here. */
  readonly accepts: boolean;
  /** The only byte that may come next, where the text may not end and there is just one; else -1. */
  readonly only: number;
  readonly readings: readonly Reading[];
  /** [classes of bytes] null: not allowed; undefined: not looked at yet. */
  readonly next: (State | null | undefined)[];
}

/**
 * Ways in which an ambiguous text is read at once. Those beyond are given up, which only narrows what may follow: every
 * reading that is left can be completed.
 */
const MAX_READINGS = 256;
/** States that are remembered; then all but those in use are forgotten. */
const MAX_STATES = 4096;

/** The states of a grammar, made as texts come to them: the subset construction on demand. */
export class States {
  readonly #automaton: Automaton;
  /** [256] bytes that no edge tells apart have the same class, and one of each class. */
  readonly #classes = new Uint8Array(256);
  readonly #examples: number[] = [];
  /** Places where nothing is left but the rule's end. */
  readonly #over: Uint8Array;
  #known = new Map<string, State>();
  #start: State | null = null;
  #stacks = 0;

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
    const { nodes } = automaton;
    this.#over = placesOver(nodes);
    const cuts = new Set([0]);
    for (const { bytes } of nodes) for (const { low, high } of bytes) cuts.add(low).add(high + 1);
    for (let byte = 0; byte < 256; byte++) {
      if (cuts.has(byte)) this.#examples.push(byte);
      this.#classes[byte] = this.#examples.length - 1;
    }
  }

  get start(): State {
    if (this.#start !== null) return this.#start;
    const bottom: Stack = { id: this.#stacks++, node: -1, below: null, above: new Map() };
    const { starts, root } = this.#automaton;
    this.#start = this.#state([{ node: starts[root]!, stack: bottom }]);
    return this.#start;
  }

  /** null: the byte is not allowed there. */
  step(state: State, byte: number): State | null {
    const kind = this.#classes[byte]!;
    const known = state.next[kind];
    if (known !== undefined) return known;
    const example = this.#examples[kind]!;
    const reached: Reading[] = [];
    for (const { node, stack } of state.readings) {
      for (const { low, high, to } of this.#automaton.nodes[node]!.bytes) {
        if (example >= low && example <= high) reached.push({ node: to, stack });
      }
    }
    const next = reached.length === 0 ? null : this.#state(reached);
    state.next[kind] = next;
    return next;
  }

  /** The state of these readings, each followed to where bytes are read. */
  #state(from: readonly Reading[]): State {
    const readings: Reading[] = [];
    const seen = new Map<Stack, Set<number>>();
    const open = from.toReversed();
    let accepts = false;
    for (let reading = open.pop(); reading !== undefined; reading = open.pop()) {
      const { node, stack } = reading;
      const places = seen.get(stack) ?? new Set();
      if (places.has(node)) continue;
      seen.set(stack, places.add(node));
      const { bytes, rules, free, end } = this.#automaton.nodes[node]!;
      if (bytes.length > 0 && readings.length < MAX_READINGS) readings.push(reading);
      if (end && stack.below === null) accepts = true;
      else if (end) open.push({ node: stack.node, stack: stack.below! });
      for (const to of free) open.push({ node: to, stack });
      for (const { rule, to } of rules) {
        // A rule that comes last returns to where its caller would: right recursion needs no deeper stack.
        const onto = this.#over[to] === 1 ? stack : this.#push(stack, to);
        open.push({ node: this.#automaton.starts[rule]!, stack: onto });
      }
    }
    return this.#intern(readings, accepts);
  }

  #push(below: Stack, node: number): Stack {
    const known = below.above.get(node);
    if (known !== undefined) return known;
    const stack: Stack = { id: this.#stacks++, node, below, above: new Map() };
    below.above.set(node, stack);
    return stack;
  }

  #intern(readings: readonly Reading[], accepts: boolean): State {
    const key = `${accepts}${readings.map(({ node, stack }) => ` ${node}:${stack.id}`).join("")}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= MAX_STATES) {
      this.#known = new Map();
      this.#start = null;
    }
    const only = accepts ? -1 : onlyByte(readings.flatMap(({ node }) => this.#automaton.nodes[node]!.bytes));
    const state: State = { accepts, only, readings, next: new Array(this.#examples.length).fill(undefined) };
    this.#known.set(key, state);
    return state;
  }
}

/** [nodes] 1 where nothing can come but the rule's end. */
function placesOver(nodes: readonly Node[]): Uint8Array {
  const over = new Uint8Array(nodes.length);
  const before: number[][] = nodes.map(() => []);
  for (const [i, { free }] of nodes.entries()) for (const to of free) before[to]!.push(i);
  const isOver = ({ bytes, rules, free, end }: Node) =>
    bytes.length + rules.length === 0 && (end || free.length > 0) && free.every((to) => over[to] === 1);
  const open = [...nodes.keys()].filter((i) => isOver(nodes[i]!));
  for (let i = open.pop(); i !== undefined; i = open.pop()) {
    if (over[i] === 1 || !isOver(nodes[i]!)) continue;
    over[i] = 1;
    open.push(...before[i]!);
  }
  return over;
}

function onlyByte(edges: readonly ByteEdge[]): number {
  const first = edges[0]?.low ?? -1;
  return edges.every(({ low, high }) => low === first && high === first) ? first : -1;
}
