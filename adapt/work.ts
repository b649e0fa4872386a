import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { StepError } from "../shared/errors.ts";

/** What part of the budget each long step may take; the others are short. */
export const SHARES = { text: 0.32, features: 0.18, heads: 0.32, traces: 0.13 } as const;
export type Step = keyof typeof SHARES;

const schema = z.object({
  /** Of model, prompts and lengths: another one is other work. */
  key: z.string(),
  /** Seconds spent on each step so far. */
  spent: z.record(z.string(), z.number()),
  /** Step -> what it was made from. */
  done: z.record(z.string(), z.string()),
  /** What is trained -> seconds that its step had spent before. */
  begun: z.record(z.string(), z.number()).default({}),
});
type State = z.infer<typeof schema>;

const SAVE_MS = 60_000;
/** A machine that does much else, or slept, lets the engine's own deadlines pass. */
const MOST_TRIES = 5;

/** Runs again what an engine could not do in time; steps go on where they were. Any other error is passed on. */
export async function patiently<T>(run: () => Promise<T>, say: (line: string) => void): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof StepError) || tries === MOST_TRIES) throw error;
      say(`${error.message} Again (${tries + 1} of ${MOST_TRIES}) ...`);
    }
  }
}

/** What a run of `npm run adapt` has done so far: files in OUT/.adapt, and a state that says which of them are whole. */
export class Work {
  readonly dir: string;
  readonly #state: State;
  readonly #budgetS: number;
  #savedAt = performance.now();

  private constructor(dir: string, state: State, budgetS: number) {
    this.dir = dir;
    this.#state = state;
    this.#budgetS = budgetS;
  }

  /** Throws Error where `out` holds other work. */
  static async open(out: string, key: string, minutes: number): Promise<Work> {
    const dir = join(out, ".adapt");
    await mkdir(dir, { recursive: true });
    const text = await readFile(join(dir, "state.json"), "utf8").catch(() => null);
    const state = text === null ? { key, spent: {}, done: {}, begun: {} } : schema.parse(JSON.parse(text));
    if (state.key !== key) {
      throw new Error(`${out} was begun with another model, other prompts or another length: take another --out`);
    }
    return new Work(dir, state, minutes * 60);
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** Whether `name` was made from just this. */
  isDone(name: string, from: string): boolean {
    return this.#state.done[name] === from;
  }

  async finish(name: string, from: string): Promise<void> {
    this.#state.done[name] = from;
    await this.#save();
  }

  /** Seconds that a step may take in all, of which some may be spent. */
  allowed(step: Step): number {
    return SHARES[step] * this.#budgetS;
  }

  left(step: Step): number {
    return Math.max(0, this.allowed(step) - (this.#state.spent[step] ?? 0));
  }

  /** Seconds of a step's time that are for `name` alone: all that earlier work of that step left, however often it is taken up. */
  async share(step: Step, name: string): Promise<number> {
    const { begun, spent } = this.#state;
    const before = (begun[name] ??= spent[step] ?? 0);
    await this.#save();
    return Math.max(0, this.allowed(step) - before);
  }

  /** Runs a step on its clock; `tick` says how far through its time it is, and writes the state now and then. */
  async timed<T>(step: Step, run: (tick: () => Promise<number>) => Promise<T>): Promise<T> {
    const before = this.#state.spent[step] ?? 0;
    const start = performance.now();
    const count = () => (this.#state.spent[step] = before + (performance.now() - start) / 1000);
    try {
      return await run(async () => {
        const spent = count();
        if (performance.now() - this.#savedAt > SAVE_MS) await this.#save();
        return spent / this.allowed(step);
      });
    } finally {
      count();
      await this.#save();
    }
  }

  async #save(): Promise<void> {
    this.#savedAt = performance.now();
    const path = this.path("state.json");
    await writeFile(`${path}.part`, `${JSON.stringify(this.#state)}\n`);
    await rename(`${path}.part`, path);
  }
}
