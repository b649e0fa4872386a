import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import { type AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { IDLE } from "../../shared/engine.ts";
import { ERRORS, type ErrorCode } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { Tracing } from "../../shared/telemetry/tracing.ts";
import type { Api } from "../api/api.ts";
import { answerBy } from "../api/node-http.ts";
import { Metrics } from "./metrics.ts";
import { PendingConnections, type PendingLimits } from "./pending.ts";
import { RefusalLog } from "./refusals.ts";
import type { Drafts, Served } from "./served.ts";
import { SessionTrace } from "./session-trace.ts";
import { type SocketLimits, StepSocket } from "./step-socket.ts";

export interface ServerOptions extends Partial<SocketLimits & PendingLimits> {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** The bearer key that every caller of /v1/ presents. */
  readonly key: string;
  readonly maxSockets?: number;
  /** Between pings; a peer that has not answered one by the next is gone. */
  readonly pingMs?: number;
  /** Takes a line whenever there is a reason to refuse somebody; none repeats within a minute. */
  readonly log?: (line: string) => void;
  /** null, the default: nothing is traced. */
  readonly tracing?: Tracing | null;
}

export interface GpuServer {
  readonly url: string;
  /** For the engine to tell what it does. */
  readonly metrics: Metrics;
  /** From here on it is ready. `api` answers OpenAI's routes. */
  serve(engine: Served, drafting: Drafts, api?: Api): void;
  /** Takes no more, lets running steps end for at most `graceMs`, then cuts off what is left. */
  close(graceMs: number): Promise<void>;
}

const DEFAULTS = {
  openMs: 10_000,
  idleMs: 120_000,
  maxSockets: 64,
  pendingMs: 10_000,
  pingMs: 2_500,
  log: () => undefined,
  tracing: null,
};

const OPENAI_PATHS = /^\/v1\/(chat\/completions|completions|models(\/[^/]*)?)$/;

/** The least that `maxPending` is where nothing else is said. */
const MIN_PENDING = 128;

/** Why a peer is turned away: an HTTP status, and the words for it and for the log. */
interface Refusal {
  readonly status: number;
  readonly error: string;
}

/** Listens at once; until `serve` it is alive but not ready. Rejects where the address cannot be had. */
export async function startServer(options: ServerOptions): Promise<GpuServer> {
  const server = new Server(options);
  await server.listen();
  return server;
}

class Server implements GpuServer {
  readonly #options: Required<ServerOptions>;
  readonly #keyHash: Buffer;
  readonly metrics: Metrics;
  readonly #http = createServer((request, response) => this.#respond(request, response));
  readonly #upgrades = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: LIMITS.frameBytes,
  });
  readonly #sockets = new Set<StepSocket>();
  readonly #refusals: RefusalLog;
  readonly #pending: PendingConnections;
  readonly #heartbeat: NodeJS.Timeout;
  /** Of those who showed the key and were not upgraded. */
  readonly #answering = new Set<Socket>();
  #served: { readonly engine: Served; readonly drafting: Drafts; readonly api: Api | null } | null = null;
  #closing = false;

  constructor(options: ServerOptions) {
    // As many handshakes at once as sockets may be open are no attack.
    const maxPending = Math.max(MIN_PENDING, options.maxSockets ?? DEFAULTS.maxSockets);
    this.#options = { ...DEFAULTS, maxPending, ...options };
    this.#keyHash = digest(options.key);
    this.metrics = new Metrics(() => this.#served?.engine.load ?? IDLE);
    this.#refusals = new RefusalLog(this.#options.log);
    this.#pending = new PendingConnections(this.#options, (reason, socket) =>
      this.#refusals.note(reason, addressOf(socket)),
    );
    this.#http.on("connection", (socket) => this.#pending.add(socket));
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

  serve(engine: Served, drafting: Drafts, api?: Api): void {
    this.#served = { engine, drafting, api: api ?? null };
  }

  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    clearInterval(this.#heartbeat);
    const closed = once(this.#http, "close");
    this.#http.close();
    for (const socket of this.#sockets) socket.drain();
    this.#pending.drain();
    const cutOff = setTimeout(() => {
      for (const socket of this.#sockets) socket.terminate();
      this.#pending.terminate();
      for (const socket of this.#answering) socket.destroy();
    }, graceMs);
    await closed;
    clearTimeout(cutOff);
    this.#refusals.close();
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#pending.answering(request.socket);
    // One request a connection, and none but OpenAI's routes want a body: whatever else a peer sends is never waited for.
    response.setHeader("connection", "close");
    if (OPENAI_PATHS.test(pathOf(request))) return this.#complete(request, response);
    if (request.method !== "GET" && request.method !== "HEAD") return reply(response, 405, { error: "GET only" });
    switch (pathOf(request)) {
      case "/healthz":
        return reply(response, 200, { status: "ok" });
      case "/readyz":
        return this.#ready === null
          ? reply(response, 503, { status: this.#closing ? "stopping" : "loading" })
          : reply(response, 200, { status: "ready" });
      case "/metrics": {
        const { registry } = this.metrics;
        response.writeHead(200, { "content-type": registry.contentType }).end(await registry.metrics());
        return;
      }
      case "/v1/bundle":
        if (!this.#admits(request)) {
          this.#refusals.note("wrong key", addressOf(request.socket));
          return reply(response, 401, { error: "wrong key" });
        }
        if (this.#ready === null) return reply(response, 503, { error: "not ready" });
        return reply(response, 200, this.#ready.engine.bundle);
      case "/v1/step":
        return reply(response, 426, { error: "WebSocket only" }, { upgrade: "websocket" });
      default:
        return reply(response, 404, { error: "no such path" });
    }
  }

  /** OpenAI's routes, for those with the key. */
  async #complete(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    if (!this.#admits(request)) {
      this.#refusals.note("wrong key", addressOf(socket));
      return reply(response, 401, openAiError("The API key is not valid.", "invalid_api_key"));
    }
    const api = this.#ready?.api ?? null;
    if (api === null) {
      const message = this.#closing ? "The gpu-worker is stopping." : "The model is not loaded yet.";
      return reply(response, 503, openAiError(message, "engine_unavailable"), { "retry-after": "1" });
    }
    // From here on the limits of completions hold.
    this.#pending.release(socket);
    this.#answering.add(socket);
    socket.once("close", () => this.#answering.delete(socket));
    await answerBy(api, request, response);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // A peer that resets the connection right now is no reason to stop.
    socket.on("error", () => socket.destroy());
    const served = this.#ready;
    const refusal = this.#refusal(request);
    if (served === null || refusal !== null) {
      this.#refuse(socket, refusal ?? { status: 503, error: this.#closing ? "stopping" : "loading" });
      return;
    }
    this.#upgrades.handleUpgrade(request, socket, head, (webSocket) => {
      this.#pending.release(socket);
      const { tracing } = this.#options;
      const trace = tracing && new SessionTrace(tracing, request.headers);
      const step = new StepSocket(webSocket, served, this.metrics, this.#options, trace);
      this.#sockets.add(step);
      webSocket.on("close", () => this.#sockets.delete(step));
    });
  }

  /** null: it may be upgraded, once there is an engine. */
  #refusal(request: IncomingMessage): Refusal | null {
    if (pathOf(request) !== "/v1/step") return { status: 404, error: "no such path" };
    // Only browsers send an origin, and no browser has business here.
    if (request.headers.origin !== undefined) return { status: 403, error: "sent by a browser's page" };
    if (!this.#admits(request)) return { status: 401, error: "wrong key" };
    const { maxSockets } = this.#options;
    return this.#sockets.size >= maxSockets ? { status: 503, error: `all ${maxSockets} sockets are taken` } : null;
  }

  #refuse(socket: Duplex, { status, error }: Refusal): void {
    this.#refusals.note(`upgrade answered ${status}, ${error}`, addressOf(socket));
    const body = JSON.stringify({ error });
    const lines = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      "connection: close",
      "content-type: application/json",
      `content-length: ${Buffer.byteLength(body)}`,
    ];
    // Not the peer's to keep open: once all is handed to the kernel the descriptor is given back.
    socket.once("finish", () => socket.destroy());
    socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
  }

  get #ready() {
    return this.#closing ? null : this.#served;
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

/** undefined where the peer is gone. */
function addressOf(socket: Duplex): string | undefined {
  return socket instanceof Socket ? socket.remoteAddress : undefined;
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? "/").split("?", 1)[0]!;
}

/** What keeps a request from OpenAI's routes, in their shape. */
function openAiError(message: string, code: ErrorCode): object {
  return { error: { message, type: ERRORS[code].type, param: null, code } };
}

function reply(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}
