import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Front, startFront } from "../../scripts/front.ts";
import { LIMITS } from "../../shared/limits.ts";

/** The front before a plain server in workerd's place, which tells how each of its connections ended. */

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let handler: Handler;
let target: Server;
let front: Front;
let ended: Promise<string>;
beforeEach(async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  ended = promise;
  target = createServer((...args) => handler(...args));
  target.on("connection", (socket: Socket) => {
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    socket.on("end", () => resolve("closed in order"));
  });
  target.listen(0, "127.0.0.1");
  await once(target, "listening");
  const { port } = target.address() as AddressInfo;
  front = await startFront({ host: "127.0.0.1", port: 0, target: new URL(`http://127.0.0.1:${port}`) });
});
afterEach(async () => {
  await front.close();
  target.closeAllConnections();
  target.close();
});

async function open(): Promise<Socket> {
  const socket = connect(Number(front.url.port), front.url.hostname);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

/** What is answered to bytes as they are. */
async function raw(bytes: string): Promise<string> {
  const socket = await open();
  socket.write(bytes);
  return await text(socket);
}

const BODY = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";

describe.each([
  ["closes its connection in order", (socket: Socket) => socket.end()],
  ["resets its connection", (socket: Socket) => socket.resetAndDestroy()],
])("a client that %s", (_, leave) => {
  test("before any answer has its request aborted by a reset", async () => {
    const client = await open();
    handler = () => leave(client);
    client.write(BODY);
    expect(await ended).toBe("ECONNRESET");
  });

  test("in the middle of an answer that it does not read has its request aborted by a reset", async () => {
    const client = await open();
    handler = (_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write("x".repeat(65_536)));
      };
      response.on("drain", more);
      more();
      // Until every buffer on the way is full.
      setTimeout(() => leave(client), 100);
    };
    client.write(BODY);
    expect(await ended).toBe("ECONNRESET");
  });
});

describe("requests", () => {
  test("reach the Worker whole, with the peer's address and without what only the network sets", async () => {
    let seen: unknown;
    handler = async (incoming, response) => {
      const { method, url, headers } = incoming;
      seen = { method, url, headers, body: await text(incoming) };
      response.end();
    };
    const headers = {
      host: "example.org",
      authorization: "Bearer k",
      "cf-connecting-ip": "192.0.2.1",
      "mf-cf-blob": "{",
      "mf-route-override": "x",
      "x-forwarded-proto": "https",
      te: "trailers",
    };
    const sending = request(new URL("/v1/x?y=1", front.url), { method: "PUT", headers });
    sending.write("one ");
    sending.end("two");
    await once(sending, "response");
    expect(seen).toEqual({
      method: "PUT",
      url: "/v1/x?y=1",
      headers: {
        host: "example.org",
        authorization: "Bearer k",
        "cf-connecting-ip": "127.0.0.1",
        connection: "keep-alive",
        "content-length": "7",
      },
      body: "one two",
    });
  });

  test("of a client that leaves before their end never reach the Worker", async () => {
    const reached: string[] = [];
    handler = (incoming, response) => {
      reached.push(incoming.url ?? "");
      response.end();
    };
    const client = await open();
    client.write(BODY.replace("2", "1000"));
    client.end();
    await text(client);
    await fetch(new URL("/next", front.url));
    expect(reached).toEqual(["/next"]);
  });

  test("too long for the Worker reach it cut off, so that it can say so, and its answer is not lost", async () => {
    for (const length of [LIMITS.bodyBytes, LIMITS.bodyBytes + 1, 20 * LIMITS.bodyBytes]) {
      handler = async (incoming, response) => {
        const body = await text(incoming);
        response.writeHead(413, { "content-type": "application/json" }).end(String(body.length));
      };
      const response = await fetch(front.url, { method: "POST", body: "x".repeat(length) });
      expect(await response.json()).toBe(Math.min(length, LIMITS.bodyBytes + 1));
    }
  });

  test("are answered also where the Worker looks at nothing but their head", async () => {
    for (let i = 0; i < 50; i++) {
      handler = (_incoming, response) => {
        response.writeHead(429, { "content-type": "application/json", connection: "close" }).end("{}");
      };
      const response = await fetch(front.url, { method: "POST", body: "x".repeat(LIMITS.bodyBytes) });
      expect(response.status).toBe(429);
      await response.text();
    }
  });

  test.each([
    ["CONNECT", "CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n", 405],
    [
      "a path of miniflare's own",
      "GET /x/../cdn-cgi/local/explorer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
      404,
    ],
    ["a method that workerd does not know", "SOURCE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405],
    ["no Host", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n", 400],
    ["a Host with more than a name in it", "GET / HTTP/1.1\r\nhost: x/y?\r\nconnection: close\r\n\r\n", 400],
    ["a Host that makes no URL", "GET / HTTP/1.1\r\nhost: x:99999\r\nconnection: close\r\n\r\n", 400],
    ["a target that is no path", "GET http://example.org/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400],
    ["what is not HTTP", "hello\r\n\r\n", 400],
    ["a body that is not HTTP", `${BODY.replace("content-length: 2", "transfer-encoding: chunked")}\r\nzz\r\n`, 400],
    ["a header beyond all bounds", `GET / HTTP/1.1\r\nhost: x\r\na: ${"b".repeat(70_000)}\r\n\r\n`, 400],
  ])("%s is refused here, in OpenAI's shape", async (_, bytes, status) => {
    handler = () => expect.unreachable();
    const [head = "", body = ""] = (await raw(bytes)).split("\r\n\r\n");
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(JSON.parse(body)).toMatchObject({ error: { type: "invalid_request_error", message: expect.any(String) } });
  });

  test("OPTIONS of the server as such is answered here", async () => {
    expect(await raw("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).toMatch(/^HTTP\/1.1 204 /);
  });
});

describe("answers", () => {
  const get = async () => {
    const response = await fetch(front.url);
    return { status: response.status, headers: response.headers, body: await response.text() };
  };

  test("come as the Worker gave them", async () => {
    handler = (_request, response) =>
      response.writeHead(503, { "content-type": "application/json", "retry-after": "1" }).end('{"error": {}}');
    const { status, headers, body } = await get();
    expect({ status, body, after: headers.get("retry-after") }).toEqual({
      status: 503,
      body: '{"error": {}}',
      after: "1",
    });
  });

  test("that are the runtime's own failure tell nothing of it", async () => {
    handler = (_request, response) => response.writeHead(500).end("Error: secret\n at /some/path.js");
    const { status, body } = await get();
    expect(status).toBe(500);
    expect(JSON.parse(body)).toMatchObject({ error: { code: "internal" } });
    expect(body).not.toContain("secret");
  });

  test("that break off do so for the client too", async () => {
    handler = (_request, response) => {
      response.writeHead(200).write("half");
      setImmediate(() => response.destroy());
    };
    await expect(get()).rejects.toThrow("terminated");
  });

  test("are not mixed with the error that the client's next bytes would get", async () => {
    const client = await open();
    handler = (_request, response) => response.writeHead(200).write("half");
    let received = "";
    client.on("data", (part) => {
      received += part;
      if (received.endsWith("half\r\n")) client.write("what is not HTTP\r\n\r\n");
    });
    client.write(BODY);
    await once(client, "close");
    expect(received).toMatch(/half\r\n$/);
  });

  test("of a Worker that is gone are errors in OpenAI's shape", async () => {
    target.close();
    const { status, body } = await get();
    expect(status).toBe(500);
    expect(JSON.parse(body)).toMatchObject({ error: { code: "internal" } });
  });
});
