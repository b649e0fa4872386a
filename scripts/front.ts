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
import { LIMITS } from "../shared/limits.ts";

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
  /** Added to every answer of the Worker. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Connections held at once, each with at most one body in memory; further ones are closed as they come. */
const MAX_CONNECTIONS = 512;

/** A caller has this long to send one request whole, ms. */
const REQUEST_MS = 60_000;

/** Unused connections are kept longer than clients keep them, so that none writes into a closing one, ms. */
const KEEP_ALIVE_MS = 75_000;

/** Methods that the Worker gets to refuse itself; workerd does not know all that Node does. */
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** A name or address, perhaps with a port, and nothing else that would end up in the URL that the Worker sees. */
const HOST = /^([\w.-]+|\[[\da-f:.]+\])(:\d+)?$/i;

/**
 * Headers between two neighbours only (RFC 9110, section 7.6.1), and some that are dealt with here: bodies are measured
 * anew, and nothing is gained by compressing what stays on this machine.
 */
const NOT_PASSED_ON = new Set([
  "accept-encoding",
  "connection",
  "content-length",
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

const ALLOW = "GET, HEAD, POST, OPTIONS";

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
export async function startFront({ host, port, target, headers = {} }: FrontOptions): Promise<Front> {
  const agent = new Agent({ maxSockets: MAX_CONNECTIONS });
  const limits = { requestTimeout: REQUEST_MS, keepAliveTimeout: KEEP_ALIVE_MS, requireHostHeader: false };
  const latest = new WeakMap<Duplex, ServerResponse>();
  const take = (request: IncomingMessage, response: ServerResponse) => {
    latest.set(request.socket, response);
    const refusal = refusalOf(request);
    if (refusal !== null) answer(response, refusal);
    else if (request.url === "*") response.writeHead(204, { allow: ALLOW }).end();
    else void passOn(request, response, { target, agent, headers });
  };
  const server = createServer(limits, take);
  server.on("checkExpectation", take);
  server.maxConnections = MAX_CONNECTIONS;
  // Nobody who has closed one half of a connection waits for an answer on the other.
  server.on("connection", (socket) => socket.on("end", () => socket.destroy()));
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    answerRaw(socket, new StepError("method_not_allowed", "This server takes no CONNECT."));
  });
  server.on("clientError", (_error: Error, socket: Duplex) => {
    // In the middle of an answer this one would be taken for a part of it.
    const response = latest.get(socket);
    if (response?.headersSent && !response.writableFinished) socket.destroy();
    else
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

/** What is wrong with a request before anybody looks at what it asks for; null for nothing. */
function refusalOf({ method = "", url = "", headers, httpVersion }: IncomingMessage): StepError | null {
  const { host = httpVersion === "1.0" ? "localhost" : "" } = headers;
  if (!METHODS.has(method)) return new StepError("method_not_allowed", `This server takes no ${method}.`);
  if (url === "*" && method === "OPTIONS") return null;
  if (!HOST.test(host) || !URL.canParse(`http://${host}`)) {
    return new StepError("invalid_request", "The Host header is missing or malformed.");
  }
  if (!url.startsWith("/")) return new StepError("invalid_request", "The request's target must be a path.");
  // Judged as workerd will read it, dots and escapes resolved.
  const path = URL.parse(`http://worker${url}`)?.pathname ?? "";
  return RESERVED_PATH.test(path) ? new StepError("not_found", `There is no ${path}.`) : null;
}

interface Upstream {
  readonly target: URL;
  readonly agent: Agent;
  readonly headers: Readonly<Record<string, string>>;
}

/** Hands a request to the Worker once it is whole, and its answer back as it arrives. */
async function passOn(request: IncomingMessage, response: ServerResponse, to: Upstream): Promise<void> {
  const body = await bodyOf(request);
  if (body === null || response.destroyed) return;
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
  upstream.on("response", (answered) => respond(answered, response, to.headers));
  upstream.on("error", () => {
    if (!response.headersSent) answer(response, BROKEN);
  });
  upstream.end(body);
}

/** Where bodies may be longer: n-gram packs. */
const PACKS = "/v1/packs/";

/**
 * The whole body, cut off where the Worker will refuse it for its length; null where the client leaves before. A Worker
 * that answers without having read everything would have its answer lost: workerd closes such a connection, and writing
 * on to it fails before the answer is read.
 */
function bodyOf(request: IncomingMessage): Promise<Buffer | null> {
  const { promise, resolve } = Promise.withResolvers<Buffer | null>();
  const parts: Buffer[] = [];
  let length = 0;
  const most = request.url?.startsWith(PACKS) === true ? LIMITS.tenantPackBytes : LIMITS.bodyBytes;
  const whole = () => resolve(Buffer.concat(parts).subarray(0, most + 1));
  request.on("data", (part: Buffer) => {
    if (length > most) return;
    parts.push(part);
    length += part.length;
    if (length > most) whole();
  });
  request.on("end", whole);
  request.on("error", () => resolve(null));
  request.on("close", () => resolve(null));
  return promise;
}

/** null for a request that Node takes but would not send. */
function ask(request: IncomingMessage, { target, agent }: Upstream): ClientRequest | null {
  const { headers, method, url: path, socket } = request;
  const sent = { ...forwarded(headers), "cf-connecting-ip": peerAddress(socket) };
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

function respond(answered: IncomingMessage, response: ServerResponse, added: Upstream["headers"]): void {
  const { statusCode = 500, headers } = answered;
  if (statusCode >= 400 && !headers["content-type"]?.startsWith("application/json")) {
    // Not the Worker's own words: a trace of the runtime's code, with paths of this machine in it, or what it made of
    // a header.
    answered.resume();
    answer(response, statusCode >= 500 ? BROKEN : new StepError("invalid_request", "The request is not valid."));
    return;
  }
  response.writeHead(statusCode, { ...forwarded(headers), ...lengthOf(headers), ...added });
  response.flushHeaders();
  answered.pipe(response);
  answered.once("close", () => {
    if (!answered.complete) response.destroy();
  });
}

function forwarded(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !NOT_PASSED_ON.has(name) && !RESERVED_HEADER.test(name)),
  );
}

/** Of an answer, which HEAD has without a body too. */
function lengthOf(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const length = headers["content-length"];
  return length === undefined ? {} : { "content-length": length };
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
    ...(error.code === "method_not_allowed" ? { allow: ALLOW } : {}),
    "x-request-id": `req_${randomUUID().replaceAll("-", "")}`,
  };
  return { status: ERRORS[error.code].status, headers, body };
}
