import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import type { StepTrace } from "../../edge/openai/answer-schemas.ts";
import { ROOT } from "../../scripts/paths.ts";

/** What the page asked of the API. */
export interface Asked {
  readonly messages: readonly { readonly content: string }[];
  readonly max_tokens: number;
  readonly speculation: {
    readonly enabled?: boolean;
    readonly placement?: string;
    readonly rescorer?: { readonly p_best?: number };
  };
}

export interface FakeServer {
  readonly url: string;
  readonly asked: Asked[];
  /** Streams that the page left before their end. */
  readonly abandoned: () => number;
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

const TEXT =
  "The sky looks blue because air scatters short wavelengths of sunlight far more strongly than long ones.\n\n" +
  "Sunlight holds every colour. When it meets molecules much smaller than its wavelength, the share that is " +
  "scattered grows with the fourth power of the frequency, so violet and blue are spread over the whole sky while " +
  "red goes almost straight through. Our eyes are less sensitive to violet, and some of it is absorbed high up; " +
  "what remains appears blue. At sunset the path through the air is longer, and most of the blue is gone before " +
  "the light arrives.";

const MODEL = {
  id: "toy",
  object: "model",
  notice: null,
  chat: true,
  speculation: {
    heads: 8,
    top_k: 16,
    packs: [
      { name: "general", order: 4, ngrams: 1000 },
      { name: "small", order: 2, ngrams: 100 },
    ],
    neural: { alpha: 0.6 },
    defaults: {
      heads: 6,
      top_k: 8,
      rescorer: { type: "ngram", model: "general", order: 3, alpha: 0.35, p_best: 2, prompt: false },
    },
    rescorers: ["none", "ngram", "tree", "neural"],
    rescorer_settings: {
      none: { title: "none", defaults: {} },
      ngram: {
        title: "n-gram",
        defaults: { model: "general", order: 3, alpha: 0.35, prompt: false, p_best: 2 },
      },
      tree: { title: "tree", defaults: { model: "general", order: 3, alpha: 0.35, prompt: false } },
      neural: { title: "neural", defaults: { alpha: 0.6 } },
    },
  },
};

/**
 * The page's files and an API that always writes the same text, in blocks that follow a fixed pattern:
 * for what needs no model, such as layout, keyboard and errors. Prompts "refuse", "break" and "endless"
 * get an error, a broken stream and one without end.
 */
export async function startFake({ stepMs }: FakeOptions): Promise<FakeServer> {
  const asked: Asked[] = [];
  let abandoned = 0;
  const server = createServer(async (request, response) => {
    if (request.url === "/v1/models") return json(response, 200, { object: "list", data: [MODEL] });
    if (request.url !== "/v1/chat/completions") return sendFile(request.url ?? "/", response);
    const body = (await readBody(request)) as Asked;
    asked.push(body);
    const prompt = body.messages[0]?.content ?? "";
    if (prompt === "refuse") return json(response, 429, { error: { message: "Too many requests: try again later." } });
    response.on("close", () => (response.writableEnded ? 0 : abandoned++));
    response.writeHead(200, { "content-type": "text/event-stream" });
    const send = (data: unknown): unknown => response.write(`data: ${JSON.stringify(data)}\n\n`);
    for (const [i, speculation] of blocks(body, prompt === "endless").entries()) {
      if (response.destroyed) return;
      send({ choices: [{ index: 0, delta: {}, finish_reason: null }], speculation });
      if (prompt === "break" && i === 3) {
        send({ error: { message: "The engine was lost." } });
        return response.end();
      }
      response.write(": keep-alive\n\n");
      await new Promise((resolve) => setTimeout(resolve, stepMs));
    }
    const metrics = { placement: { chosen: body.speculation.placement ?? "edge", round_trip_ms: 12.34 } };
    send({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }], metrics });
    response.end("data: [DONE]\n\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    abandoned: () => abandoned,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

/** The text as blocks of 1, 3, 5, 2, ... tokens with a draft around each; of single tokens where plain. */
function blocks({ speculation }: Asked, endless: boolean): StepTrace[] {
  const tokens = (endless ? TEXT.repeat(50) : TEXT).match(/\s*[\p{L}]+|\s*[^\s\p{L}]|\s+/gu) ?? [];
  const pattern = speculation.enabled === false ? [1] : [1, 3, 5, 2, 4, 1, 7, 3];
  const traces: StepTrace[] = [];
  for (let at = 0; at < tokens.length; ) {
    const step = traces.length;
    const size = step === 0 ? 1 : pattern[step % pattern.length]!;
    const taken = tokens.slice(at, at + size);
    const accepted = taken.slice(0, -1);
    const drafted =
      step === 0 || speculation.enabled === false ? [] : tree(accepted, speculation.rescorer?.p_best ?? 1);
    traces.push({
      step,
      accepted,
      bonus: taken.at(-1) ?? null,
      drafted,
      rejected: drafted.length - accepted.length,
      place: "edge",
      step_ms: step === 0 ? 31.4 : 12.3,
      model_ms: 11.9,
    });
    at += size;
  }
  return traces;
}

/** The accepted tokens and wrong ones after them, with a wrong second path from the root. */
function tree(accepted: readonly string[], paths: number): StepTrace["drafted"] {
  const wrong = [" of", " the", " and", " light", "\n", "."];
  const first = [...accepted, ...wrong].slice(0, 6).map((text, i) => ({
    id: i,
    text,
    parent: i - 1,
    accepted: i < accepted.length,
  }));
  if (paths < 2) return first;
  const second = [" is", " not", " far"].map((text, i) => ({
    id: 10 + i,
    text,
    parent: i === 0 ? -1 : first.length + i - 1,
    accepted: false,
  }));
  return [...first, ...second];
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function sendFile(url: string, response: ServerResponse): Promise<void> {
  const path = url === "/" ? "index.html" : url.slice(1).replaceAll("..", "");
  const content = await readFile(join(ROOT, "edge", "demo", path)).catch(() => null);
  if (content === null) return json(response, 404, { error: { message: "No such page." } });
  response
    .writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/plain", ...(await pageHeaders()) })
    .end(content);
}

/** The headers that Cloudflare would add from `_headers`, so that the page is tested under its own policy. */
async function pageHeaders(): Promise<Record<string, string>> {
  const text = await readFile(join(ROOT, "edge", "demo", "_headers"), "utf8");
  const lines = text.split("\n").filter((line) => line.startsWith("  "));
  return Object.fromEntries(
    lines.map((line) => [line.slice(2, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text);
}
