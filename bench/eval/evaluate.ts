import type { TokenId } from "../../shared/ids.ts";
import { type Completion, complete, type Parts, type Task } from "./complete.ts";
import { addCounters, type Counters, emptyCounters } from "./counters.ts";
import type { Method } from "./methods.ts";
import { type Difference, explainDifference } from "./ties.ts";

/** One answer to reproduce by every method. */
export interface EvalCase {
  readonly id: string;
  readonly category: string;
  /** 0 begins a new row; answers of one row count as one prompt. */
  readonly turn: number;
  readonly task: Task;
  /** Plain greedy decoding of the task. */
  readonly plain: Completion;
  /** Whether a model ran, so that times mean something. */
  readonly timed: boolean;
  /** Correct answers of the row, where known. */
  readonly references: readonly string[];
}

export interface MethodResult {
  readonly counters: Counters;
  /** Decoding after each answer's first token, ms; 0 where no model ran. */
  decodeMs: number;
  /** Every answer of the row equals plain decoding's, token by token. */
  identical: boolean;
  /** Answers that differ, each by a float tie or not. */
  readonly differences: Difference[];
}

export interface RowResult {
  readonly id: string;
  readonly category: string;
  readonly turns: number;
  readonly methods: ReadonlyMap<string, MethodResult>;
}

/** Another program that answers the same prompts with the same weights. */
export interface OtherProgram {
  readonly name: string;
  /** Steps are not counted: how it drafts is its own affair. */
  answer(task: Task): Promise<Completion>;
}

export interface EvaluateOptions {
  readonly methods: readonly Method[];
  /** Asked after the methods, answer by answer. */
  readonly others?: readonly OtherProgram[];
  readonly parts: Parts;
  /** After each answer. */
  readonly onCase?: (done: EvalCase) => void;
  readonly onDifference?: (done: EvalCase, method: Method, difference: Difference | null) => void;
}

/** Runs every method over every answer; rows in the order of `cases`. */
export async function evaluate(cases: AsyncIterable<EvalCase>, options: EvaluateOptions): Promise<RowResult[]> {
  const rows: { id: string; category: string; turns: number; methods: Map<string, MethodResult> }[] = [];
  let asked = 0;
  for await (const answer of cases) {
    let row = rows.at(-1);
    if (row === undefined || answer.turn === 0) {
      row = { id: answer.id, category: answer.category, turns: 0, methods: new Map() };
      rows.push(row);
    }
    row.turns++;
    const resultOf = (name: string) => {
      const result = row.methods.get(name) ?? emptyResult();
      row.methods.set(name, result);
      return result;
    };
    const { methods, others = [] } = options;
    // Another one begins each time, so that a machine that slows down within an answer slows all alike.
    const first = asked++ % Math.max(1, methods.length);
    for (const method of [...methods.slice(first), ...methods.slice(0, first)])
      await evaluateMethod(answer, method, resultOf(method.name), options);
    for (const other of others) await evaluateOther(answer, other, resultOf(other.name));
    options.onCase?.(answer);
  }
  return rows;
}

function emptyResult(): MethodResult {
  return { counters: emptyCounters(), decodeMs: 0, identical: true, differences: [] };
}

async function evaluateMethod(
  answer: EvalCase,
  method: Method,
  result: MethodResult,
  options: EvaluateOptions,
): Promise<void> {
  const { plain, task } = answer;
  const done = method.draft.type === "plain" ? plain : await complete(task, method, options.parts, plain.output);
  addCounters(result.counters, done.counters);
  if (answer.timed) result.decodeMs += done.decodeMs;
  if (sameTokens(plain.output, done.output)) return;
  result.identical = false;
  const difference = await explainDifference(task, method, options.parts, plain.output, done.output);
  if (difference !== null) result.differences.push(difference);
  options.onDifference?.(answer, method, difference);
}

/** Its arithmetic is not ours: a text that differs is no fault. */
async function evaluateOther({ plain, task }: EvalCase, other: OtherProgram, result: MethodResult): Promise<void> {
  const done = await other.answer(task);
  addCounters(result.counters, done.counters);
  result.decodeMs += done.decodeMs;
  if (!sameTokens(plain.output, done.output)) result.identical = false;
}

function sameTokens(a: readonly TokenId[], b: readonly TokenId[]): boolean {
  return a.length === b.length && a.every((token, i) => token === b[i]);
}
