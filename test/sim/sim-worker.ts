import type { ClientSocket } from "../../edge/engine/link.ts";
import { Metrics } from "../../gpu-worker/serve/metrics.ts";
import type { Drafts } from "../../gpu-worker/serve/served.ts";
import { StepSocket } from "../../gpu-worker/serve/step-socket.ts";
import type { CancelSignal } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { createFakeEngine, type FakeEngine, type FakeOptions } from "../fakes/fake-engine.ts";
import type { VirtualClock } from "./clock.ts";
import { type Gate, Wire, type WireFaults } from "./wire.ts";

/** As the gpu-worker's program has them. */
const GRACE_MS = 5_000;
const LIMITS = { openMs: 10_000, idleMs: 120_000 };

/** One start of a gpu-worker's program: the real sockets over a fake engine. */
class Incarnation implements Gate {
  readonly engine: FakeEngine;
  readonly sockets = new Map<Wire, StepSocket>();
  readonly #metrics = new Metrics(() => this.engine.load);
  readonly #drafting: Drafts;
  #held: (() => void)[] | null = null;
  #gone = false;

  constructor(options: FakeOptions, drafting: Drafts) {
    this.engine = createFakeEngine(options);
    this.#drafting = drafting;
  }

  get hangs(): boolean {
    return this.#held !== null;
  }

  pass(act: () => void): void {
    if (this.#gone) return;
    if (this.#held === null) act();
    else this.#held.push(act);
  }

  accept(wire: Wire): void {
    const socket = new StepSocket(
      wire.server,
      { engine: this.engine, drafting: this.#drafting },
      this.#metrics,
      LIMITS,
    );
    this.sockets.set(wire, socket);
    wire.server.on("close", () => this.sockets.delete(wire));
  }

  hang(): void {
    this.#held ??= [];
  }

  goOn(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const act of held) this.pass(act);
  }

  /** Whoever is connected notices. */
  die(): void {
    this.#gone = true;
    this.#held = null;
    for (const wire of [...this.sockets.keys()]) wire.cut();
  }
}

export interface SimWorkerOptions {
  readonly clock: VirtualClock;
  readonly engine: FakeOptions;
  readonly drafting: Drafts;
  /** Of one stream's connections, by its name. */
  readonly faultsOf: (stream: string) => WireFaults;
  /** Time from a death until it listens again, ms. */
  readonly restartMs: number;
}

/** A gpu-worker that is started again when it ends, seen from an edge. */
export class SimWorker {
  readonly #options: SimWorkerOptions;
  #incarnation: Incarnation;
  #state: "up" | "draining" | "down" = "up";

  constructor(options: SimWorkerOptions) {
    this.#options = options;
    this.#incarnation = new Incarnation(options.engine, options.drafting);
  }

  get isHealthy(): boolean {
    return this.#state === "up" && !this.#incarnation.hangs;
  }

  /** Sessions and sockets that are still open. */
  get open(): number {
    return this.#incarnation.engine.openSessions + this.#incarnation.sockets.size;
  }

  async connect(signal: CancelSignal, stream: string): Promise<ClientSocket> {
    const { clock, faultsOf } = this.#options;
    const faults = faultsOf(stream);
    const { promise, resolve, reject } = Promise.withResolvers<ClientSocket>();
    const giveUp = () => reject(new StepError("client_closed", "given up"));
    signal.addEventListener("abort", giveUp);
    clock.after(faults.delayMs(), () => {
      if (this.#state === "down") return reject(new StepError("engine_unavailable", "refused"));
      const incarnation = this.#incarnation;
      incarnation.pass(() => {
        if (this.#state === "draining") return reject(new StepError("overloaded", "stopping"));
        const wire = new Wire(clock, faults, incarnation);
        incarnation.accept(wire);
        clock.after(faults.delayMs(), () => resolve(wire.client));
      });
    });
    return await promise.finally(() => signal.removeEventListener("abort", giveUp));
  }

  /** SIGKILL; `forGood`: nobody starts it again. */
  kill(forGood = false): void {
    const dead = this.#incarnation;
    this.#state = "down";
    dead.die();
    if (forGood) return;
    const { clock, restartMs, engine, drafting } = this.#options;
    clock.after(restartMs, () => {
      this.#incarnation = new Incarnation(engine, drafting);
      this.#state = "up";
    });
  }

  /** SIGSTOP; SIGCONT after `ms`, where it has not been killed meanwhile. */
  hang(ms: number): void {
    const stopped = this.#incarnation;
    stopped.hang();
    this.#options.clock.after(ms, () => stopped.goOn());
  }

  /** SIGTERM: as the gpu-worker's server does it. */
  drain(): void {
    const draining = this.#incarnation;
    this.#state = "draining";
    for (const socket of [...draining.sockets.values()]) socket.drain();
    const since = this.#options.clock.now;
    const ended = () => {
      if (this.#incarnation !== draining || this.#state === "down") return;
      const over = draining.sockets.size === 0 || this.#options.clock.now - since >= GRACE_MS;
      if (over) this.kill();
      else this.#options.clock.after(50, ended);
    };
    ended();
  }
}
