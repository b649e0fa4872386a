import type { ClientSocket } from "../../edge/engine/link.ts";
import type { PeerSocket } from "../../gpu-worker/serve/step-socket.ts";
import type { VirtualClock } from "./clock.ts";

/** What the wire between an edge and a gpu-worker does to frames. */
export interface WireFaults {
  /** ms, one way. */
  readonly delayMs: () => number;
  /** How much later a copy of this frame comes, ms; null: it does not come again. */
  readonly copyAfterMs: () => number | null;
}

/** Holds back what passes while a gpu-worker hangs; gone, nothing passes any more. */
export interface Gate {
  pass(act: () => void): void;
}

type Listener = (...values: never[]) => void;

/** Both ends of one WebSocket: frames arrive in order and after a while, and a copy of one possibly again. */
export class Wire {
  readonly client: ClientSocket;
  readonly server: PeerSocket;
  readonly #clock: VirtualClock;
  readonly #faults: WireFaults;
  readonly #gate: Gate;
  readonly #listeners = { client: new Map<string, Listener[]>(), server: new Map<string, Listener[]>() };
  readonly #open = { client: true, server: true };
  /** When the last frame arrives there. */
  readonly #busyUntil = { client: 0, server: 0 };

  constructor(clock: VirtualClock, faults: WireFaults, gate: Gate) {
    this.#clock = clock;
    this.#faults = faults;
    this.#gate = gate;
    this.client = {
      send: (data) => {
        const frame = Buffer.from(data);
        this.#send("server", () => this.#tell("server", "message", frame, true));
      },
      close: () => this.#close("client"),
      addEventListener: (type: string, listener: Listener) => this.#listen("client", type, listener),
    };
    const open = this.#open;
    this.server = {
      OPEN: 1,
      get readyState() {
        return open.server ? 1 : 3;
      },
      on: (type: string, listener: Listener) => this.#listen("server", type, listener),
      send: (data) => {
        const frame = new Uint8Array(data).buffer;
        this.#gate.pass(() => this.#send("client", () => this.#tell("client", "message", { data: frame })));
      },
      ping: () => undefined,
      close: () => this.#gate.pass(() => this.#close("server")),
      terminate: () => this.cut(),
    };
  }

  /** Both ends are told that it is gone: the gpu-worker's at once, the edge's after a while. */
  cut(): void {
    this.#open.server = false;
    this.#tell("server", "close");
    this.#later("client", () => this.#closed("client"));
  }

  #close(from: "client" | "server"): void {
    if (!this.#open[from]) return;
    this.#open[from] = false;
    const to = from === "client" ? "server" : "client";
    this.#later(to, () => {
      this.#closed(to);
      this.#later(from, () => this.#tell(from, "close"));
    });
  }

  #closed(at: "client" | "server"): void {
    if (!this.#open[at]) return;
    this.#open[at] = false;
    this.#tell(at, "close");
  }

  #send(to: "client" | "server", arrive: () => void): void {
    if (!this.#open[to === "client" ? "server" : "client"]) return;
    const arriveIfOpen = () => this.#open[to] && arrive();
    this.#later(to, arriveIfOpen);
    const copyAfterMs = this.#faults.copyAfterMs();
    if (copyAfterMs === null) return;
    this.#clock.after(copyAfterMs, () => this.#later(to, arriveIfOpen));
  }

  /** What goes to a gpu-worker that hangs waits there. */
  #later(to: "client" | "server", act: () => void): void {
    const at = Math.max(this.#busyUntil[to], this.#clock.now + this.#faults.delayMs());
    this.#busyUntil[to] = at;
    this.#clock.after(at - this.#clock.now, to === "server" ? () => this.#gate.pass(act) : act);
  }

  #listen(at: "client" | "server", type: string, listener: Listener): void {
    const all = this.#listeners[at];
    all.set(type, [...(all.get(type) ?? []), listener]);
  }

  #tell(at: "client" | "server", type: string, ...values: unknown[]): void {
    for (const listener of this.#listeners[at].get(type) ?? []) listener(...(values as never[]));
  }
}
