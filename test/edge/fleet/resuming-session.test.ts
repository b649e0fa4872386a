import { describe, expect, test } from "vitest";
import { Member } from "../../../edge/fleet/member.ts";
import type { Placed } from "../../../edge/fleet/resuming-session.ts";
import { ResumingSession } from "../../../edge/fleet/resuming-session.ts";
import type { Block } from "../../../shared/decode/block.ts";
import type { DraftingSession, RunEnd } from "../../../shared/decode/drafting-session.ts";
import type { RunRequest } from "../../../shared/decode/run-request.ts";
import { chain } from "../../../shared/draft-tree.ts";
import { IDLE, type StepResult } from "../../../shared/engine.ts";
import { type ErrorCode, StepError } from "../../../shared/errors.ts";
import { PLAIN, PLAIN_RUN, plainResult } from "../../helpers/session.ts";
import { INFO } from "../fixture.ts";

const RUN: RunRequest = { ...PLAIN_RUN, verified: true };
const still = () => new AbortController().signal;

/** Counts on from the last token of its text, and is lost after `lasts` steps; before that no pause comes through. */
class Counting implements DraftingSession {
  readonly bundle = INFO;
  readonly cachedTokens = 0;
  readonly roundTripMs = 1;
  readonly running = false;
  readonly load = IDLE;
  readonly opened: StepResult;
  closed = 0;
  paused = false;
  #last: number;
  #steps = 0;
  readonly #lasts: number;
  readonly #code: ErrorCode;

  constructor(text: ArrayLike<number>, lasts: number, code: ErrorCode = "engine_lost") {
    this.#last = text[text.length - 1]!;
    this.#lasts = lasts;
    this.#code = code;
    this.opened = this.#next();
  }

  async step(index: number): Promise<StepResult> {
    if (index !== this.#steps) throw new Error(`step ${index} after ${this.#steps}`);
    if (this.#steps++ === this.#lasts) throw new StepError(this.#code, "lost");
    return this.#next();
  }

  async *run({ limits }: RunRequest): AsyncGenerator<Block, RunEnd | null> {
    for (let left = limits.maxTokens; !this.paused || this.#lasts < 100; left--) {
      const result = await this.step(this.#steps);
      const finish = left === 1 ? "length" : null;
      const committed = [{ token: result.bonus, kind: "bonus", logProbs: null }] as const;
      yield { call: 0, committed, drafted: 0, verified: null, cachedTokens: 0, finish, timing: result.timing };
      if (finish !== null) return null;
    }
    return { result: { ...this.opened, bonus: this.#last }, steps: this.#steps };
  }

  hint(): void {}

  pause(): void {
    this.paused = true;
  }

  close(): void {
    this.closed++;
  }

  #next(): StepResult {
    return plainResult(++this.#last);
  }
}

/** A stream whose engines last for so many steps each; the last one for good. */
function stream(lasting: readonly number[], code?: ErrorCode) {
  const sessions: Counting[] = [];
  const left = [...lasting];
  const place = (text: ArrayLike<number>): Placed => {
    const session = new Counting(text, left.shift() ?? Number.POSITIVE_INFINITY, code);
    sessions.push(session);
    return { member: new Member("a", { open: async () => session }), session };
  };
  const lost: Placed[] = [];
  let until: Promise<void> = Promise.resolve();
  const session = new ResumingSession(PLAIN, place(PLAIN.prompt), {
    again: async (text) => {
      await until;
      return place(text);
    },
    told: () => undefined,
    lost: (placed) => lost.push(placed),
  });
  const delay = (promise: Promise<void>) => {
    until = promise;
  };
  return { session, sessions, lost, delay };
}

describe("a session that survives its engine", () => {
  test("steps on elsewhere: the lost step accepts nothing, and nothing of its draft is said to have been verified", async () => {
    const { session, sessions, lost } = stream([1, 1]);
    expect(session.opened.bonus).toBe(2);
    const bonuses: number[] = [];
    for (let index = 0; index < 6; index++) {
      const { accepted, bonus, threshold } = await session.step(index, chain([9]), still());
      expect(accepted).toEqual([]);
      bonuses.push(bonus);
      expect(threshold).toBe(index === 1 || index === 3 ? 256 : 0);
    }
    expect(bonuses).toEqual([3, 4, 5, 6, 7, 8]);
    expect(lost).toHaveLength(2);
    expect(sessions.map(({ closed }) => closed)).toEqual([1, 1, 0]);
  });

  test("runs on elsewhere for the rest of the tokens, and steps on from there", async () => {
    const { session } = stream([3]);
    const tokens: number[] = [];
    const run = session.run({ ...RUN, limits: { maxTokens: 6, eosTokens: [] } }, still());
    for (let next = await run.next(); ; next = await run.next()) {
      if (next.done) {
        expect(next.value).toBeNull();
        break;
      }
      expect(next.value.call).toBe(tokens.length);
      tokens.push(...next.value.committed.map(({ token }) => token));
      expect(next.value.finish).toBe(tokens.length === 6 ? "length" : null);
    }
    expect(tokens).toEqual([3, 4, 5, 6, 7, 8]);
  });

  test("ends a paused run with the first token of another engine, where the paused one is lost", async () => {
    const { session } = stream([1]);
    const run = session.run(RUN, still());
    expect((await run.next()).value).toMatchObject({ committed: [{ token: 3 }] });
    // Its answer to the pause is lost with it.
    session.pause();
    expect((await run.next()).value).toMatchObject({ call: 1, committed: [{ token: 4 }], verified: { accepted: [] } });
    const { done, value } = await run.next();
    expect(done).toBe(true);
    const { steps, result } = value as RunEnd;
    expect({ steps, bonus: result.bonus }).toEqual({ steps: 0, bonus: 4 });
    expect((await session.step(steps, chain([]), still())).bonus).toBe(5);
    // Another run is not paused.
    expect((await session.run(RUN, still()).next()).value).toMatchObject({ call: 0, committed: [{ token: 6 }] });
  });

  test("is given up after losing five engines without getting on, and never while it does", async () => {
    const stuck = stream([0, 0, 0, 0, 0]);
    const steps = async (session: ResumingSession, count: number) => {
      for (let index = 0; index < count; index++) await session.step(index, chain([]), still());
    };
    await expect(steps(stuck.session, 10)).rejects.toMatchObject({ code: "engine_lost" });
    expect(stuck.sessions).toHaveLength(5);
    const slow = stream(new Array<number>(20).fill(20));
    await steps(slow.session, 300);
    expect(slow.sessions.length).toBeGreaterThan(10);
  });

  test.each<[ErrorCode, boolean]>([
    ["engine_lost", true],
    ["engine_unavailable", true],
    ["bad_frame", true],
    ["engine_failed", false],
    ["client_closed", false],
    ["context_length_exceeded", false],
  ])("after %s: goes on %s", async (code, goesOn) => {
    const { session } = stream([0], code);
    const step = session.step(0, chain([]), still());
    if (goesOn) expect((await step).bonus).toBe(3);
    else await expect(step).rejects.toMatchObject({ code });
  });

  test("closed while it looks for another engine, keeps none", async () => {
    const { session, sessions, lost, delay } = stream([0]);
    const { promise, resolve } = Promise.withResolvers<void>();
    delay(promise);
    const step = session.step(0, chain([]), still());
    while (lost.length === 0) await Promise.resolve();
    session.close();
    resolve();
    await expect(step).rejects.toMatchObject({ code: "client_closed" });
    expect(sessions.map(({ closed }) => closed > 0)).toEqual([true, true]);
  });
});
