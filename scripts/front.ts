import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  Agent,
  type ClientRequest,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as requestUpstream,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import { type AddressInfo, isIPv6, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { errorBody } from "../edge/http/errors.ts";
import { ERRORS, StepError } from "../shared/errors.ts";

/** What accepts callers' connections and hands their requests to the Worker in workerd. */
export interface Front {
  readonly url: URL;
  close(): Promise<void>;
}

export interface FrontOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Where workerd listens. */
  readonly target: URL;
}

/** Connections held at once, with callers and with workerd; further ones are closed as they come, or wait. */
const MAX_CONNECTIONS = 1024;

/** A caller has this long to send one request whole, ms. */
const REQUEST_MS = 60_000;

/** Unused connections are kept longer than clients keep them, so that none writes into a closing one, ms. */
const KEEP_ALIVE_MS = 75_000;

/** Headers between two neighbours only: RFC 9110, section 7.6.1. `expect` is answered here. */
const HOP_BY_HOP = new Set([
  "connection",
  "expect",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Headers that only the network before a Worker sets, and those by which miniflare's own parts talk to each other. */
const RESERVED_HEADER = /^(cf|mf|x-forwarded)-/;

/** Paths of that network and of miniflare's own. */
const RESERVED_PATH = /^\/(cdn-cgi|__cf_local)(\/|$)/;

const BROKEN = new StepError("internal", "The server had an error.");

/**
 * Does for the Worker on this machine what Cloudflare's network does for a deployed one and workerd does not. A client
 * that leaves is noticed however it leaves, and its request aborted: workerd sees a connection that is reset, but not
 * one that is closed in order. `cf-connecting-ip` is the peer's address, whatever the client says. What is no request
 * for the Worker is answered here, and so is what makes miniflare's own code fail, in OpenAI's shape.
 * Rejects where the address cannot be had.
 */
export async function startFront({ host, port, target }: FrontOptions): Promise<Front> {
  const limits = { requestTimeout: REQUEST_MS, keepAliveTimeout: KEEP_ALIVE_MS };
  const agent = new Agent({ maxSockets: MAX_CONNECTIONS });
  const server = createServer(limits, (request, response) => {
    const path = request.url ?? "";
    if (path === "*" && request.method === "OPTIONS") response.writeHead(204, { allow: "GET, HEAD, POST" }).end();
    else if (!path.startsWith("/")) answer(response, new StepError("invalid_request", "The target must be a path."));
    else if (isReserved(path)) answer(response, new StepError("not_found", `There is no ${path}.`));
    else passOn(request, response, { target, agent });
  });
  server.maxConnections = MAX_CONNECTIONS;
  // Nobody who has closed one half of a connection waits for an answer on the other.
  server.on("connection", (socket) => socket.on("end", () => socket.destroy()));
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    answerRaw(socket, new StepError("method_not_allowed", "This server is no proxy."));
  });
  server.on("clientError", (_error: Error, socket: Duplex) => {
    answerRaw(socket, new StepError("invalid_request", "The request is not valid HTTP, or too large, or too slow."));
  });
  server.listen(port, host);
  await once(server, "listening");
  return {
    url: urlOf(server.address() as AddressInfo),
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
}

/** An address to reach it by from this machine. */
function urlOf({ address, port }: AddressInfo): URL {
  const host = { "0.0.0.0": "127.0.0.1", "::": "::1" }[address] ?? address;
  return new URL(`http://${isIPv6(host) ? `[${host}]` : host}:${port}`);
}

/** Judged as workerd will read it, dots and escapes resolved. */
function isReserved(path: string): boolean {
  return RESERVED_PATH.test(URL.parse(`http://worker${path}`)?.pathname ?? "");
}

interface Upstream {
  readonly target: URL;
  readonly agent: Agent;
}

/** Hands a request to the Worker and its answer back, as both arrive. */
function passOn(request: IncomingMessage, response: ServerResponse, to: Upstream): void {
  const upstream = ask(request, to);
  if (upstream === null) {
    answer(response, new StepError("invalid_request", "The request's target or headers are not valid."));
    return;
  }
  response.once("close", () => {
    if (response.writableFinished) return;
    // Only a reset makes workerd abort the request: an orderly close of this end too would tell it nothing.
    upstream.socket?.resetAndDestroy();
    upstream.destroy();
  });
  upstream.on("response", (answered) => respond(answered, response));
  upstream.on("error", () => {
    // The Worker may answer, to a body too large for one, before it has read all of the request.
    request.unpipe(upstream).resume();
    if (!response.headersSent) answer(response, BROKEN);
  });
  request.pipe(upstream);
}

/** null for a request that Node takes but would not send. */
function ask(request: IncomingMessage, { target, agent }: Upstream): ClientRequest | null {
  const { headers, method, url: path, socket } = request;
  // The body's end is marked as the caller marked it.
  const chunked = headers["transfer-encoding"] === undefined ? {} : { "transfer-encoding": "chunked" };
  const address = { "cf-connecting-ip": peerAddress(socket) };
  const sent = { ...forwarded(headers), ...chunked, ...address };
  try {
    return requestUpstream({ agent, host: target.hostname, port: target.port, method, path, headers: sent });
  } catch {
    return null;
  }
}

/** IPv4 addresses as such, also where the socket takes both kinds. */
function peerAddress({ remoteAddress = "" }: Socket): string {
  return remoteAddress.replace(/^::ffff:(?=\d+\.)/, "");
}

function respond(answered: IncomingMessage, response: ServerResponse): void {
  const { statusCode = 500, headers } = answered;
  if (statusCode >= 500 && !headers["content-type"]?.startsWith("application/json")) {
    // Not the Worker's own: a trace of the runtime's code, with paths of this machine in it.
    answered.resume();
    answer(response, BROKEN);
    return;
  }
  response.writeHead(statusCode, forwarded(headers));
  response.flushHeaders();
  answered.pipe(response);
  answered.once("close", () => {
    if (!answered.complete) response.destroy();
  });
}

function forwarded(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name) && !RESERVED_HEADER.test(name)),
  );
}

function answer(response: ServerResponse, error: StepError): void {
  const { status, headers, body } = rendered(error);
  response.writeHead(status, headers).end(body);
}

/** For a connection on which Node makes no response. */
function answerRaw(socket: Duplex, error: StepError): void {
  const { status, headers, body } = rendered(error);
  const lines = Object.entries({ ...headers, connection: "close" }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on("error", () => socket.destroy());
  if (!socket.writable) socket.destroy();
  else socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${body}`, () => socket.destroy());
}

function rendered(error: StepError) {
  const body = JSON.stringify(errorBody(error));
  const headers = {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "x-request-id": `req_${randomUUID().replaceAll("-", "")}`,
  };
  return { status: ERRORS[error.code].status, headers, body };
}
