import { createGpuClient, DEADLINES } from "../../edge/engine/gpu-client.ts";
import type { ClientSocket } from "../../edge/engine/link.ts";
import { PooledEngine, sleep } from "../../edge/fleet/pooled-engine.ts";
import type { Drafts } from "../../gpu-worker/serve/served.ts";
import { PLACEMENTS, type Place, Placement } from "../../shared/decode/placement.ts";
import { decode } from "../../shared/decode/run.ts";
import type { CancelSignal } from "../../shared/engine.ts";
import { type ErrorCode, StepError } from "../../shared/errors.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import type { TraceHeaders } from "../../shared/telemetry/tracing.ts";
import { DRAFTING } from "../fakes/drafting.ts";
import { createFakeEngine, type FakeEngine } from "../fakes/fake-engine.ts";
import { Random } from "../helpers/random.ts";
import { randomCalibration } from "../rescore/helpers.ts";
import { VirtualClock } from "./clock.ts";
import { packFor, type RandomRequest, randomModel, randomRequest } from "./scene.ts";
import { SimWorker } from "./sim-worker.ts";
import type { WireFaults } from "./wire.ts";

/**
 * A fleet in one process and in time of its own: the edge's client, pool and loop, the gpu-worker's sockets and runs,
 * and between them a wire that delays and repeats; gpu-workers that die, hang, drain and are full. All of it follows
 * from one seed.
 */

/** Streams of one seed. */
export const STREAMS = 20;
/** Faults that one stream can meet: as many as it may lose engines. */
const FAULTS = 4;
/** Faults and streams begin within this time, ms. */
const BUSY_MS = 8_000;
/** As an edge has it that is told nothing else, ms. */
const RESUME_MS = 20_000;
/** So long a gpu-worker hangs that nobody waits for it, ms. */
const FOREVER_MS = 120_000;
/** All is over by then, ms. */
const LIMIT_MS = 600_000;
/** What a caller is told, and comes again. */
const COME_AGAIN: ReadonlySet<ErrorCode> = new Set(["overloaded", "engine_unavailable", "timeout", "bad_frame"]);

export interface FleetReport {
  readonly streams: number;
  readonly tokens: number;
  /** What was not as it must be; empty: all well. */
  readonly faults: readonly string[];
  /** What happened, by name: so that a test can tell that it did. */
  readonly counts: Readonly<Record<string, number>>;
}

/** A choice of place that changes its mind for no reason. */
class Fickle extends Placement {
  readonly #random: Random;
  constructor(random: Random) {
    super("auto");
    this.#random = random;
  }
  override choose(roundTripMs: number | null): Place {
    super.choose(roundTripMs);
    return this.#random.chance(0.5) ? "edge" : "gpu";
  }
}

export async function simulateFleet(seed: number): Promise<FleetReport> {
  const clock = new VirtualClock();
  const undo = clock.install();
  try {
    return await new FleetRun(seed, clock).run();
  } finally {
    undo();
  }
}

class FleetRun {
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #model: FakeEngine;
  readonly #workers = new Map<string, SimWorker>();
  readonly #pools: PooledEngine[];
  readonly #tripMs: number;
  /** Copies of frames that a stream may still get, by the name that its connections carry. */
  readonly #copies = new Map<string, number>();
  readonly #allDie: boolean;
  readonly #faults: string[] = [];
  readonly #counts: Record<string, number> = {};
  #tokens = 0;

  constructor(seed: number, clock: VirtualClock) {
    this.#clock = clock;
    const random = new Random(seed);
    this.#random = random;
    const options = randomModel(random, seed);
    this.#model = createFakeEngine(options);
    this.#tripMs = random.pick([0.2, 1, 5, 40]);
    this.#allDie = random.chance(0.05);
    const stepMs = random.pick([1, 5, 20]);
    const calibration = randomCalibration(() => random.unit());
    const pack = packFor(this.#model.bundle.vocabSize);
    const drafting: Drafts = {
      ...DRAFTING,
      rescorer: async ({ rescorer }) => createRescorer(rescorer, pack, calibration),
    };
    for (let i = random.int(2, 4); i > 0; i--) {
      const maxSessions = random.pick([3, 6, 20]);
      const wait = (ms: number, signal: AbortSignal) => sleep(ms * (0.5 + random.unit()), signal);
      const engine = { ...options, stepMs, maxSessions, wait, threshold: random.pick([0, 0, 60, 200]) };
      const faultsOf = (stream: string) => this.#wireFaults(stream);
      this.#workers.set(
        `http://worker-${i}`,
        new SimWorker({ clock, engine, drafting, faultsOf, restartMs: random.int(300, 4_000) }),
      );
    }
    this.#pools = Array.from({ length: random.int(1, 2) }, () => this.#pool());
  }

  async run(): Promise<FleetReport> {
    const streams = Array.from({ length: STREAMS }, (_, i) => this.#stream(i));
    const troubles = this.#random.int(0, FAULTS);
    for (let i = 0; i < troubles; i++) this.#clock.after(this.#random.int(0, BUSY_MS), () => this.#trouble());
    if (this.#allDie) this.#clock.after(this.#random.int(0, BUSY_MS), () => this.#end());
    try {
      await this.#clock.run(Promise.all(streams), LIMIT_MS);
      // Gpu-workers come back, and what the edges left behind is noticed.
      await this.#clock.run(sleep(FOREVER_MS * 1.5, new AbortController().signal), LIMIT_MS * 2);
    } catch (error) {
      this.#faults.push(`the run: ${String(error)}`);
    }
    const open = [...this.#workers.values()].reduce((sum, worker) => sum + worker.open, 0);
    if (open > 0) this.#faults.push(`${open} sessions or sockets left open`);
    if (this.#clock.pending > 0) this.#faults.push(`${this.#clock.pending} timers left`);
    return { streams: STREAMS, tokens: this.#tokens, faults: this.#faults, counts: this.#counts };
  }

  #pool(): PooledEngine {
    const now = () => this.#clock.now;
    return new PooledEngine({
      workers: async () => [...this.#workers.keys()],
      engineAt: (url) => createGpuClient((signal, trace) => this.#connect(url, signal, trace), DEADLINES, now),
      now,
      random: () => this.#random.unit(),
      sleep,
      resumeMs: RESUME_MS,
    });
  }

  async #connect(url: string, signal: CancelSignal, trace: TraceHeaders = {}): Promise<ClientSocket> {
    return await this.#workers.get(url)!.connect(signal, trace.traceparent ?? "");
  }

  /** Of one stream's frames few come again, and never more often than it may lose its engine. */
  #wireFaults(stream: string): WireFaults {
    return {
      delayMs: () => (this.#tripMs / 2) * (0.5 + this.#random.unit()),
      copyAfterMs: () => {
        const left = this.#copies.get(stream) ?? 0;
        if (left === 0 || !this.#random.chance(0.05)) return null;
        this.#copies.set(stream, left - 1);
        this.#count("copies");
        return this.#random.pick([0, this.#random.int(0, 20), this.#random.int(0, 500)]);
      },
    };
  }

  /** Something happens to a gpu-worker, while another one is well. */
  #trouble(): void {
    const random = this.#random;
    const healthy = [...this.#workers.values()].filter((worker) => worker.isHealthy);
    if (healthy.length < 2) return;
    const worker = random.pick(healthy);
    const kind = random.pick(["kill", "drain", "hang", "delay"] as const);
    this.#count(kind);
    if (kind === "kill") worker.kill();
    else if (kind === "drain") worker.drain();
    else worker.hang(kind === "delay" ? random.int(50, 2_500) : random.int(4_500, 12_000));
  }

  #end(): void {
    this.#count("ends");
    for (const worker of this.#workers.values()) {
      if (this.#random.chance(0.5)) worker.kill(true);
      else worker.hang(FOREVER_MS);
    }
  }

  async #stream(index: number): Promise<void> {
    const random = this.#random;
    const scene = randomRequest(random, this.#model);
    const controller = new AbortController();
    const trace = { traceparent: String(index) };
    this.#copies.set(trace.traceparent, random.pick([0, 0, 1]));
    const leaves = random.chance(0.1) ? random.int(0, 5) : null;
    const aborts = random.chance(0.05);
    const pool = random.pick(this.#pools);
    const slow = random.chance(0.1);
    const mode = random.pick([...PLACEMENTS, "fickle"] as const);
    const startMs = random.int(0, BUSY_MS);
    if (aborts) this.#clock.after(startMs + random.int(0, 3_000), () => controller.abort());
    await sleep(startMs, new AbortController().signal);
    const told: number[] = [];
    let finish: string | null = null;
    const read = async () => {
      const placement = mode === "fickle" ? new Fickle(random) : new Placement(mode);
      const spec = { ...scene.request.spec, trace };
      const asked = { ...scene.request, spec, ...this.#elsewhere(scene, placement), signal: controller.signal };
      for await (const event of decode(pool, { ...asked, now: () => this.#clock.now })) {
        told.push(...event.committed.map(({ token }) => token));
        finish = event.finish;
        this.#count(`${event.place} blocks`);
        if (event.call === leaves) return;
        if (slow && random.chance(0.3)) await sleep(random.int(1, 2_000), new AbortController().signal);
      }
    };
    const error = await this.#persist(read, told);
    this.#tokens += told.length;
    const fault = this.#judge({
      scene,
      told,
      finish,
      error,
      left: leaves !== null,
      aborted: controller.signal.aborted,
    });
    if (fault !== null) this.#faults.push(`stream ${index} (${mode}): ${fault}`);
  }

  #elsewhere({ rescorer, request }: RandomRequest, placement: Placement) {
    const { maxNodes, autoNodes, limits } = request;
    const verified = this.#random.chance(0.5);
    return {
      elsewhere: { placement, run: { rescorer, pack: "", maxNodes, autoNodes, limits, guided: false, verified } },
    };
  }

  /** Comes again where it is told to before it got anything, as a client does. */
  async #persist(read: () => Promise<void>, told: readonly number[]): Promise<unknown> {
    for (let tries = 0; ; tries++) {
      try {
        await read();
        return null;
      } catch (error) {
        const again = error instanceof StepError && COME_AGAIN.has(error.code) && told.length === 0;
        if (!again || tries === 60) return error;
        this.#count("came again");
        await sleep((error.retryAfterS ?? 1) * 1000, new AbortController().signal);
      }
    }
  }

  #judge(stream: {
    readonly scene: RandomRequest;
    readonly told: readonly number[];
    readonly finish: string | null;
    readonly error: unknown;
    readonly left: boolean;
    readonly aborted: boolean;
  }): string | null {
    const { scene, told, finish, error, left, aborted } = stream;
    const { plain, request } = scene;
    if (told.some((token, i) => token !== plain[i])) return `other text: ${told.join(" ")} for ${plain.join(" ")}`;
    if (error !== null) {
      const code = error instanceof StepError ? error.code : String(error);
      this.#count(`ended by ${code}`);
      if (aborted && code === "client_closed") return null;
      return this.#allDie && ["engine_unavailable", "engine_lost", "overloaded"].includes(code)
        ? null
        : `error ${code}`;
    }
    if (left && finish === null) return null;
    if (told.length < plain.length) return `cut short after ${told.length} of ${plain.length} tokens`;
    const ends = request.limits.eosTokens.includes(plain.at(-1)!) ? "stop" : "length";
    return finish === ends ? null : `finish ${finish} for ${ends}`;
  }

  #count(what: string): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + 1;
  }
}
