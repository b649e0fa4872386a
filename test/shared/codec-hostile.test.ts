import { Packr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { decodeClient, decodeServer, encodeClient, encodeServer } from "../../shared/codec.ts";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import { PROTOCOL_VERSION } from "../../shared/messages.ts";
import { Random } from "../helpers/random.ts";
import { CLIENT, fullReply, SERVER } from "./codec-samples.ts";

const packr = new Packr({ useRecords: false });
const DECODERS = { client: decodeClient, server: decodeServer };

const frames = [
  ...Object.entries(CLIENT).map(([name, message]) => ({ name, side: "client" as const, bytes: encodeClient(message) })),
  ...Object.entries({ ...SERVER, "full stepped": fullReply() }).map(([name, message]) => ({
    name,
    side: "server" as const,
    bytes: encodeServer(message),
  })),
];

function codeOf(decode: () => unknown): string {
  try {
    decode();
    return "decoded";
  } catch (error) {
    if (error instanceof StepError) return error.code;
    throw error;
  }
}

/** A frame's elements with some replaced; decodes the result. */
function changed(side: "client" | "server", frame: Uint8Array, changes: Readonly<Record<number, unknown>>): string {
  const values: unknown[] = packr.unpack(frame);
  for (const [at, value] of Object.entries(changes)) values[Number(at)] = value;
  return codeOf(() => DECODERS[side](packr.pack(values)));
}

describe("cut or altered frames", () => {
  test.each(frames)("$name: cut at every length is bad_frame", ({ side, bytes }) => {
    for (let length = 0; length < bytes.length; length++) {
      expect(
        codeOf(() => DECODERS[side](bytes.subarray(0, length))),
        `${length} bytes`,
      ).toBe("bad_frame");
    }
  });

  test.each(frames)("$name: bytes left over are bad_frame", ({ side, bytes }) => {
    expect(codeOf(() => DECODERS[side](Uint8Array.of(...bytes, 0)))).toBe("bad_frame");
  });

  test.each(frames)("$name: the other side's decoder refuses it", ({ side, bytes }) => {
    expect(codeOf(() => DECODERS[side === "client" ? "server" : "client"](bytes))).toBe("bad_frame");
  });

  test.each(frames)("$name: random changes are decoded to a message or refused, never worse", ({ side, bytes }) => {
    const random = new Random(bytes.length);
    for (let round = 0; round < 3000; round++) {
      const altered = Uint8Array.from(bytes);
      for (let i = random.int(1, 4); i > 0; i--) altered[random.int(0, altered.length - 1)] = random.int(0, 255);
      expect(["decoded", "bad_frame", "protocol_mismatch"]).toContain(codeOf(() => DECODERS[side](altered)));
    }
  });

  test("random bytes are refused", () => {
    const random = new Random(7);
    for (let round = 0; round < 3000; round++) {
      const bytes = Uint8Array.from({ length: random.int(0, 40) }, () => random.int(0, 255));
      expect(codeOf(() => decodeClient(bytes))).toBe("bad_frame");
      expect(codeOf(() => decodeServer(bytes))).toBe("bad_frame");
    }
  });
});

describe("hostile msgpack", () => {
  const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));

  test.each([
    ["a list that claims four thousand million elements", bytesOf("dd ffffffff 00")],
    ["bytes that claim four gigabytes", bytesOf("92 00 c6 ffffffff 00")],
    ["text that claims four gigabytes", bytesOf("92 00 db ffffffff 41")],
    ["lists nested to the frame's end", new Uint8Array(LIMITS.frameBytes).fill(0x91)],
    ["lists nested in a message", bytesOf("92 01 91 91 91 91 91 90")],
    ["a map", bytesOf("81 a1 61 01")],
    ["a map in a message", bytesOf("92 01 81 a1 61 01")],
    ["an extension: a record definition", bytesOf("d4 72 40 91 a1 61 01")],
    ["an extension: a date", bytesOf("d6 ff 00000000")],
    ["an extension: a shared reference", bytesOf("92 d6 69 00000001 90 d6 70 00000001")],
    ["an extension: a pattern", bytesOf("c7 05 78 92 a1 61 a1 67")],
    ["a 64-bit integer", bytesOf("92 01 cf 0000000000000001")],
    ["the byte that means nothing", bytesOf("c1")],
    ["nothing", new Uint8Array(0)],
    ["a frame over the limit", new Uint8Array(LIMITS.frameBytes + 1).fill(0xc0)],
    ["no list", bytesOf("01")],
    ["an empty list", bytesOf("90")],
  ])("%s is bad_frame", (_, bytes) => {
    expect(codeOf(() => decodeClient(bytes))).toBe("bad_frame");
    expect(codeOf(() => decodeServer(bytes))).toBe("bad_frame");
  });

  test("a refused record definition does not change how later frames are read", () => {
    codeOf(() => decodeClient(bytesOf("92 d4 72 40 91 a1 61 01 40")));
    expect(decodeClient(packr.pack([1, 0x40, 2, ...[0, 1, 2].map(() => Uint8Array.of())]))).toMatchObject({
      index: 0x40,
    });
  });
});

describe("values out of their range are bad_frame", () => {
  const open = encodeClient(CLIENT.open!);
  /** Adjustments of one biased token, with some fields replaced. */
  const biased = (changes: Readonly<Record<number, unknown>>) =>
    Object.assign([2, Buffer.from([5, 0]), Buffer.alloc(4), 1, 0, 0], changes);
  const tooLong = Buffer.alloc(LIMITS.contextTokens * 2 + 2);
  test.each([
    ["a number as a model", { 2: 5 }],
    ["a long model", { 2: "x".repeat(129) }],
    ["an odd token width", { 3: 3 }],
    ["an empty prompt", { 4: Buffer.alloc(0) }],
    ["a prompt of half a token", { 4: Buffer.alloc(3) }],
    ["too long a prompt", { 4: tooLong }],
    ["text for the prompt", { 4: "abcd" }],
    ["negative heads", { 5: -1 }],
    ["too many heads", { 5: LIMITS.latticeHeads + 1 }],
    ["topK of 0", { 6: 0 }],
    ["topK of 2.5", { 6: 2.5 }],
    ["a temperature of NaN", { 7: Number.NaN }],
    ["an infinite temperature", { 7: Number.POSITIVE_INFINITY }],
    ["a negative temperature", { 7: -1 }],
    ["text for the temperature", { 7: "1" }],
    ["topP of 0", { 8: 0 }],
    ["topP above 1", { 8: 1.01 }],
    ["a negative seed", { 9: -1 }],
    ["a seed beyond 32 bits", { 9: 2 ** 32 }],
    ["too many log-probabilities", { 10: LIMITS.topLogProbs + 1 }],
    ["no log-probabilities, said with false", { 10: false }],
    ["a negative weight of the local rescorer", { 11: -0.1 }],
    ["a weight of the local rescorer above 1", { 11: 1.1 }],
    ["no local rescorer, said with false", { 11: false }],
    ["a number for whether drafts are of a fixed size", { 12: 1 }],
    ["nothing for whether drafts are of a fixed size", { 12: null }],
    ["no tenant, said with null", { 13: null }],
    ["bytes for the tenant", { 13: Buffer.from("a") }],
    ["a long tenant", { 13: "x".repeat(LIMITS.tenantLength + 1) }],
    ["more answered than there is", { 14: 4 }],
    ["half a token answered", { 14: 0.5 }],
    ["more sampling, said with false", { 15: false }],
    ["a top-k of none", { 15: [0, null, null] }],
    ["a min-p of 0", { 15: [null, 0, null] }],
    ["a min-p above 1", { 15: [null, 1.5, null] }],
    ["sampling cut short", { 15: [null, null] }],
    ["more sampling than there is", { 15: [null, null, null, null] }],
    ["too many biases", { 15: [null, null, biased({ 1: Buffer.alloc(602), 2: Buffer.alloc(1204) })] }],
    ["fewer biases than tokens", { 15: [null, null, biased({ 2: Buffer.alloc(0) })] }],
    ["a bias out of range", { 15: [null, null, biased({ 2: Buffer.from(new Float32Array([101]).buffer) })] }],
    ["a bias of NaN", { 15: [null, null, biased({ 2: Buffer.from(new Float32Array([Number.NaN]).buffer) })] }],
    ["a repetition penalty of 0", { 15: [null, null, biased({ 3: 0 })] }],
    ["a frequency penalty out of range", { 15: [null, null, biased({ 4: -2.5 })] }],
    ["a presence penalty out of range", { 15: [null, null, biased({ 5: 2.5 })] }],
    ["a grammar that is no text", { 16: 5 }],
    ["a grammar too large", { 16: "x".repeat(LIMITS.grammarBytes + 1) }],
    ["more runners-up than a reply lists", { 17: LIMITS.runnersUp + 1 }],
    ["no runners-up, said with null", { 17: null }],
    ["a number for whether lattices have a query", { 18: 1 }],
    ["no query, said with null", { 18: null }],
    ["an element too many", { 19: null }],
  ])("open with %s", (_, changes) => {
    expect(changed("client", open, changes)).toBe("bad_frame");
  });

  test("another protocol version is protocol_mismatch, whatever follows it", () => {
    expect(changed("client", open, { 1: PROTOCOL_VERSION + 1 })).toBe("protocol_mismatch");
    expect(codeOf(() => decodeClient(packr.pack([0, PROTOCOL_VERSION + 1, "all new"])))).toBe("protocol_mismatch");
  });

  const step = encodeClient(CLIENT["step with a chain"]!);
  test.each([
    ["a negative index", { 1: -1 }],
    ["NaN as index", { 1: Number.NaN }],
    ["more tokens than nodes may be", { 3: Buffer.alloc(128), 4: Buffer.alloc(64), 5: Buffer.alloc(64) }],
    ["fewer parents than tokens", { 4: Buffer.from([255]) }],
    ["a parent after its child", { 4: Buffer.from([255, 1, 0]) }],
    ["a parent that is not there", { 4: Buffer.from([255, 0, 200]) }],
    ["siblings alike", { 3: Buffer.from([5, 0, 5, 0, 7, 0]), 4: Buffer.from([255, 255, 0]) }],
    ["fewer chances than tokens", { 5: Buffer.from([255, 255]) }],
    ["more chances than tokens", { 5: Buffer.from([255, 255, 255, 255]) }],
    ["a node likelier than its parent", { 5: Buffer.from([200, 201, 1]) }],
    ["a list for the chances", { 5: [255, 255, 255] }],
    ["an element too many", { 6: null }],
  ])("step with %s", (_, changes) => {
    expect(changed("client", step, changes)).toBe("bad_frame");
  });

  const stepped = encodeServer(SERVER.stepped!);
  /** Scales and so many values. */
  const query = (scales: readonly number[], values: number) =>
    Buffer.concat([Buffer.from(Float32Array.from(scales).buffer), Buffer.alloc(values)]);
  test.each([
    ["an accepted path that turns back", { 2: Buffer.from([2, 1]) }],
    ["an accepted node beyond the tree", { 2: Buffer.from([63]) }],
    ["a negative bonus token", { 3: -1 }],
    ["more heads than bytes", { 4: 3 }],
    ["a lattice too wide", { 5: 17 }],
    ["log-probabilities that rise", { 8: Buffer.from(new Float16Array([-2, -1, -1, -1]).buffer) }],
    ["a log-probability above 0", { 8: Buffer.from(new Float16Array([1, -1, -1, -1]).buffer) }],
    ["a log-probability of NaN", { 8: Buffer.from(new Float16Array([Number.NaN, -1, -1, -1]).buffer) }],
    ["a query without scales", { 9: Buffer.alloc(7) }],
    ["a query of no values", { 9: query([1, 1], 0) }],
    ["a query of three values", { 9: query([1, 1], 3) }],
    ["a query of too high a rank", { 9: query([1, 1], 2 * LIMITS.pairRank + 2) }],
    ["a query of scale 0", { 9: query([1, 0], 2) }],
    ["a query of a scale below 0", { 9: query([-1, 1], 2) }],
    ["a query of scale NaN", { 9: query([Number.NaN, 1], 2) }],
    ["a query of an endless scale", { 9: query([1, Infinity], 2) }],
    ["a list for the query", { 9: [1, 1, 0, 0] }],
    ["no query, said with false", { 9: false }],
    ["a negative threshold", { 10: -1 }],
    ["a threshold beyond all chances and one more", { 10: 257 }],
    ["half a threshold", { 10: 0.5 }],
    ["a time below zero", { 11: Buffer.from(new Float32Array([-1, 0, 0, 0]).buffer) }],
    ["a time of NaN", { 11: Buffer.from(new Float32Array([0, Number.NaN, 0, 0]).buffer) }],
    ["a pass without end", { 11: Buffer.from(new Float32Array([0, 0, 0, Infinity]).buffer) }],
    ["three times", { 11: Buffer.alloc(12) }],
    ["a negative number of sessions", { 12: -1 }],
    ["more sessions than sixteen bits hold", { 12: 65_536 }],
    ["half a waiting session", { 13: 0.5 }],
    ["more than all of the cache in use", { 14: 256 }],
    ["log-probabilities of too few tokens", { 15: [0, Buffer.alloc(4), 2, Buffer.alloc(0), Buffer.alloc(0)] }],
    ["text for log-probabilities", { 15: "none" }],
    ["runners-up of too few tokens", { 16: [2, 2, Buffer.alloc(4), Buffer.alloc(2)] }],
    ["runners-up without a gap each", { 16: [1, 2, Buffer.alloc(6), Buffer.alloc(2)] }],
    ["rows of no runners-up", { 16: [0, 2, Buffer.alloc(0), Buffer.alloc(0)] }],
    ["more runners-up than were asked for", { 16: [8, 2, Buffer.alloc(48), Buffer.alloc(24)] }],
    ["an element too many", { 17: null }],
  ])("stepped with %s", (_, changes) => {
    expect(changed("server", stepped, changes)).toBe("bad_frame");
  });

  test.each([
    ["an error code that is not in the table", { 1: "toString" }],
    ["a number for the message", { 2: 1 }],
    ["bytes for the field", { 3: Buffer.alloc(2) }],
    ["a time to come again that has passed", { 4: -1 }],
    ["a time to come again that never comes", { 4: Number.POSITIVE_INFINITY }],
    ["text for when to come again", { 4: "soon" }],
  ])("failed with %s", (_, changes) => {
    expect(changed("server", encodeServer(SERVER.failed!), changes)).toBe("bad_frame");
  });

  test.each([
    ["costs below zero", 7, Buffer.from(new Float32Array([1, -1, 0, 0, 0]).buffer)],
    ["half a cost", 7, Buffer.alloc(18)],
    ["a cost that is no number", 7, Buffer.from(new Float32Array([1, 0, Number.NaN, 0, 0]).buffer)],
    ["too few costs", 7, Buffer.alloc(16)],
    ["too many costs", 7, Buffer.alloc(24)],
    ["a list of costs", 7, [1, 0, 0, 0, 0]],
    ["a number for whether it has a local rescorer", 8, 1],
    ["nothing for whether lattices can have a query", 9, null],
    ["a vocabulary of none", 2, 0],
    ["a provider that is no text", 6, null],
  ])("opened with %s", (_, at, value) => {
    const values: unknown[][] = packr.unpack(encodeServer(SERVER.opened!));
    values[1]![at] = value;
    expect(codeOf(() => decodeServer(packr.pack(values)))).toBe("bad_frame");
  });

  test.each([-1, 1.5, LIMITS.contextTokens + 1, null])("opened with %j tokens that had been computed", (value) => {
    expect(changed("server", encodeServer(SERVER.opened!), { 2: value })).toBe("bad_frame");
  });
});
