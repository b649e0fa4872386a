import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import type { BundleInfo, StepEngine } from "../shared/engine.ts";
import { LIMITS } from "../shared/limits.ts";
import { Metrics } from "./metrics.ts";
import { type SocketLimits, StepSocket } from "./step-socket.ts";

/** What is served once it has been loaded. */
export interface Served extends StepEngine {
  readonly bundle: BundleInfo;
  /** Bytes of all key/value caches, where the engine has such. */
  readonly kvBytes?: number;
}

export interface ServerOptions extends Partial<SocketLimits> {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** The bearer key that every caller of /v1/ presents. */
  readonly key: string;
  readonly maxSockets?: number;
  readonly pingMs?: number;
}

export interface GpuServer {
  readonly url: string;
  /** From here on it is ready. */
  serve(engine: Served): void;
  /** Takes no more, lets running steps end for at most `graceMs`, then cuts off what is left. */
  close(graceMs: number): Promise<void>;
}

const DEFAULTS = { openMs: 10_000, idleMs: 120_000, maxSockets: 64, pingMs: 15_000 };

/** Listens at once; until `serve` it is alive but not ready. Rejects where the address cannot be had. */
export async function startServer(options: ServerOptions): Promise<GpuServer> {
  const server = new Server(options);
  await server.listen();
  return server;
}

class Server implements GpuServer {
  readonly #options: Required<ServerOptions>;
  readonly #keyHash: Buffer;
  readonly #metrics: Metrics;
  readonly #http = createServer((request, response) => this.#respond(request, response));
  readonly #upgrades = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: LIMITS.frameBytes,
  });
  readonly #sockets = new Set<StepSocket>();
  readonly #heartbeat: NodeJS.Timeout;
  #engine: Served | null = null;
  #closing = false;

  constructor(options: ServerOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.#keyHash = digest(options.key);
    this.#metrics = new Metrics(() => this.#engine?.kvBytes ?? 0);
    this.#http.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    this.#heartbeat = setInterval(() => {
      for (const socket of this.#sockets) socket.ping();
    }, this.#options.pingMs);
  }

  async listen(): Promise<void> {
    try {
      this.#http.listen(this.#options.port, this.#options.host);
      await once(this.#http, "listening");
    } catch (error) {
      clearInterval(this.#heartbeat);
      throw error;
    }
  }

  get url(): string {
    const { address, family, port } = this.#http.address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  serve(engine: Served): void {
    this.#engine = engine;
  }

  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    clearInterval(this.#heartbeat);
    const closed = once(this.#http, "close");
    this.#http.close();
    for (const socket of this.#sockets) socket.drain();
    const cutOff = setTimeout(() => {
      for (const socket of this.#sockets) socket.terminate();
      this.#http.closeAllConnections();
    }, graceMs);
    this.#http.closeIdleConnections();
    await closed;
    clearTimeout(cutOff);
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = pathOf(request);
    if (request.method !== "GET" && request.method !== "HEAD") return reply(response, 405, { error: "GET only" });
    switch (path) {
      case "/healthz":
        return reply(response, 200, { status: "ok" });
      case "/readyz":
        return this.#ready === null
          ? reply(response, 503, { status: this.#closing ? "stopping" : "loading" })
          : reply(response, 200, { status: "ready" });
      case "/metrics": {
        const { registry } = this.#metrics;
        response.writeHead(200, { "content-type": registry.contentType }).end(await registry.metrics());
        return;
      }
      case "/v1/bundle":
        if (!this.#admits(request)) return reply(response, 401, { error: "wrong key" });
        if (this.#ready === null) return reply(response, 503, { error: "not ready" });
        return reply(response, 200, this.#ready.bundle);
      case "/v1/step":
        return reply(response, 426, { error: "WebSocket only" }, { upgrade: "websocket" });
      default:
        return reply(response, 404, { error: "no such path" });
    }
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // A peer that resets the connection right now is no reason to stop.
    socket.on("error", () => socket.destroy());
    const engine = this.#ready;
    const refusal = this.#refusal(request);
    if (engine === null || refusal !== null) {
      const status = refusal ?? "503 Service Unavailable";
      socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    this.#upgrades.handleUpgrade(request, socket, head, (webSocket) => {
      const step = new StepSocket(webSocket, engine, this.#metrics, this.#options);
      this.#sockets.add(step);
      webSocket.on("close", () => this.#sockets.delete(step));
    });
  }

  /** The status line of a refused upgrade, or null. */
  #refusal(request: IncomingMessage): string | null {
    if (pathOf(request) !== "/v1/step") return "404 Not Found";
    // Only browsers send an origin, and no browser has business here.
    if (request.headers.origin !== undefined) return "403 Forbidden";
    if (!this.#admits(request)) return "401 Unauthorized";
    return this.#sockets.size >= this.#options.maxSockets ? "503 Service Unavailable" : null;
  }

  get #ready(): Served | null {
    return this.#closing ? null : this.#engine;
  }

  /** Compares hashes, so neither the time nor the length tells anything of the key. */
  #admits(request: IncomingMessage): boolean {
    const presented = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "";
    return timingSafeEqual(digest(presented), this.#keyHash);
  }
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? "/").split("?", 1)[0]!;
}

function reply(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}
