import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { openApiDocument } from "../../edge/openai/openapi.ts";
import { guidePages } from "../../scripts/guide.ts";
import { ROOT } from "../../scripts/paths.ts";
import { type Asked, blocks, CALL, lastFields, MODEL } from "./fake-answers.ts";

export interface FakeServer {
  readonly url: string;
  readonly asked: Asked[];
  /** Streams that the page left before their end. */
  readonly abandoned: () => number;
  /** Told to the page: round trip in ms and port of edges, "0=8787,20=8788". */
  distances: string | null;
  /** Streams that ran at once, at most. */
  readonly most: () => number;
  close(): Promise<void>;
}

export interface FakeOptions {
  /** Between two blocks, ms. */
  readonly stepMs: number;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

/** What a prompt gets in place of an answer. */
const REFUSALS: Readonly<Record<string, [status: number, error: { message: string; param?: string }]>> = {
  refuse: [429, { message: "Too many requests: try again later." }],
  "too long": [400, { message: "Invalid 'max_tokens': too many.", param: "max_tokens" }],
  "bad reach": [400, { message: "Invalid 'reach': at most 3 here.", param: "speculation.rescorer.reach" }],
};

/**
 * The page's files and an API that always writes the same text, in blocks that follow a fixed pattern:
 * for what needs no model, such as layout, keyboard and errors. Prompts "break" and "endless" get a broken stream and
 * one without end, "cut" ends at a limit, "deep" drafts 63 nodes, "JSON" is answered with it; with tools, the first
 * answer is a call.
 */
export async function startFake({ stepMs }: FakeOptions): Promise<FakeServer> {
  const asked: Asked[] = [];
  let abandoned = 0;
  let running = 0;
  let most = 0;
  const server = createServer(async (request, response) => {
    if (request.url === "/v1/models") {
      if (fake.distances !== null) response.setHeader("x-distances", fake.distances);
      return json(response, 200, { object: "list", data: [MODEL] });
    }
    if (request.url === "/openapi.json") return json(response, 200, openApiDocument());
    if (request.url !== "/v1/chat/completions") return sendFile(request.url ?? "/", response);
    const body = (await readBody(request)) as Asked;
    asked.push(body);
    const refusal = REFUSALS[promptOf(body)];
    if (refusal !== undefined) return json(response, refusal[0], { error: refusal[1] });
    most = Math.max(most, ++running);
    response.on("close", () => {
      running--;
      if (!response.writableEnded) abandoned++;
    });
    await writeAnswer(body, response, stepMs);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const fake: FakeServer = {
    url: `http://127.0.0.1:${port}`,
    distances: null,
    asked,
    abandoned: () => abandoned,
    most: () => most,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return fake;
}

function promptOf({ messages }: Asked): string {
  return messages.findLast(({ role }) => role === "user")?.content ?? "";
}

async function writeAnswer(body: Asked, response: ServerResponse, stepMs: number): Promise<void> {
  const prompt = promptOf(body);
  const calls = body.tools !== undefined && body.tool_choice === "required";
  response.writeHead(200, { "content-type": "text/event-stream" });
  const send = (data: unknown): unknown => response.write(`data: ${JSON.stringify(data)}\n\n`);
  const chunk = (delta: object, reason: string | null, more: object) =>
    send({ choices: [{ index: 0, delta, finish_reason: reason }], ...more });
  for (const [i, speculation] of blocks(body, prompt).entries()) {
    if (response.destroyed) return;
    chunk(calls && i === 1 ? { tool_calls: CALL } : {}, null, { speculation });
    if (prompt === "break" && i === 3) {
      send({ error: { message: "The engine was lost." } });
      response.end();
      return;
    }
    response.write(": keep-alive\n\n");
    await new Promise((resolve) => setTimeout(resolve, stepMs));
  }
  chunk({}, calls ? "tool_calls" : prompt === "cut" ? "length" : "stop", {});
  send({ choices: [], ...lastFields(body) });
  response.end("data: [DONE]\n\n");
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function sendFile(url: string, response: ServerResponse): Promise<void> {
  const named = url === "/" ? "index.html" : url.slice(1).replaceAll("..", "");
  // As Cloudflare serves pages: without the ending.
  const path = extname(named) === "" ? `${named}.html` : named;
  const page = path.startsWith("docs/") ? (await guidePages()).get(path) : undefined;
  const content = page ?? (await readFile(join(ROOT, "edge", "demo", path)).catch(() => null));
  if (content === null) return json(response, 404, { error: { message: "No such page." } });
  response
    .writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/plain", ...(await pageHeaders()) })
    .end(content);
}

/** The headers that Cloudflare would add from `_headers`, so that the page is tested under its own policy. */
async function pageHeaders(): Promise<Record<string, string>> {
  const text = await readFile(join(ROOT, "edge", "demo", "_headers"), "utf8");
  // Of the first rule, which is that of all pages.
  const lines = text
    .split(/^(?=\/)/m)[0]!
    .split("\n")
    .filter((line) => line.startsWith("  "));
  return Object.fromEntries(
    lines.map((line) => [line.slice(2, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text);
}
