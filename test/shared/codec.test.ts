import { describe, expect, test } from "vitest";
import { decodeClient, decodeServer, encodeClient, encodeServer } from "../../shared/codec.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { ServerMessage } from "../../shared/messages.ts";
import { CLIENT, fullReply, RESULT, SERVER, SPEC } from "./codec-samples.ts";

describe("what is sent arrives", () => {
  test.each(Object.entries(CLIENT))("%s", (_, message) => {
    expect(decodeClient(encodeClient(message))).toEqual(message);
  });

  test.each(Object.entries(SERVER))("%s", (_, message) => {
    expect(decodeServer(encodeServer(message))).toEqual(message);
  });

  test("also the longest prompt", () => {
    const prompt = new Uint32Array(LIMITS.contextTokens).fill(200_000);
    const message = { type: "open", version: 5, spec: { ...SPEC, prompt } } as const;
    expect(decodeClient(encodeClient(message))).toEqual(message);
  });
});

/** These bytes are the protocol: a change here is a new PROTOCOL_VERSION. */
const BYTES: Readonly<Record<string, string>> = {
  open: "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c2a000c0c000c2",
  "open with a large vocabulary and log-probabilities":
    "dc00130005a474696e7904c404000001000001cb3fe6666666666666cb3fee666666666666ceffffffff14c0c2a000c0c000c2",
  "open with a local rescorer":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0cb3fd0000000000000c2a000c0c000c2",
  "open with lattices that have a query":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c2a000c0c000c3",
  "open with runners-up":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c2a000c0c007c2",
  "open of a tenant, with drafts of a fixed size":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c3a43061316200c0c000c2",
  "open of a session that goes on from another one's":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c2a002c0c000c2",
  "open with all that changes how tokens are chosen":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c2a0009328cb3fd00000000000009604c4080700000070110100c4080000c8c200002040cb3ff4000000000000cbbfe000000000000002c000c2",
  "open with a bias alone":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c2a00093c0c09604c4080700000070110100c4080000c8c200002040010000c000c2",
  "open with a grammar":
    "dc00130005a474696e7902c40601000200ffff0810cb3fe6666666666666cb3fee666666666666ceffffffffc0c0c2a000c0ac726f6f74203a3a3d2022612200c2",
  "step without a draft": "96010002c400c400c400",
  "step with a chain": "9601cd012c02c406050006000700c403ff0001c403ffffff",
  "step with a tree": "9601ce0001117004c40c050000000600000070110100c403ffff01c40303ff80",
  "run without a draft": "9e0500cd010091a46e6f6e65c000c2cd200002c4020200c202c400c2",
  "run with one n-gram path": "9e05070095a56e6772616d04cb3fd0000000000000c210a4303066663fc20102c400c302c400c2",
  "run with a tree that grows by what pays, blocks telling it":
    "9e0507cd040096a47472656503cb3fe0000000000000c3c0c0a4303066663fc30102c400c302c400c3",
  "run with a prediction": "9e05cd012c0191a46e6f6e65c000c2cd200002c4020200c204c4080300000000000100c2",
  credit: "930620ce00011170",
  pause: "9107",
  "hint of nothing": "960b0102c400c400c400",
  "hint of a tree": "960bcd200004c40c050000000600000070110100c403ff0000c403c8c807",
  opened:
    "dc0012029aa474696e79a430306666cdc000cd08000810a3637075c4140000f0400000803e0000003e0000644100000000c3c200c40007000002c400c400c00cc4100000003f0000e8400000003e0000484103cd012c33c0c0",
  "opened with what had been computed, by an idle engine that verifies nothing":
    "dc0012029aa474696e79a430306666cdc000cd08000810a3637075c4140000f0400000803e0000003e0000644100000000c3c3cd2000c40007000002c400c400c0cd0100c4100000003f0000e8400000003e00000000000000c0c0",
  stepped:
    "dc00110303c40300023e07020202c4080b000c000d00ffffc40800b800be000000fcc00cc4100000003f0000e8400000003e0000484103cd012c33c0c0",
  "stepped with a lattice that has a query":
    "dc00110303c40007020202c4080b000c000d00ffffc40800b800be000000fcc40c0000003f0000003c7f8000050cc4100000003f0000e8400000003e0000484103cd012c33c0c0",
  "stepped with log-probabilities":
    "dc00110304c4010107000002c400c400c00cc4100000003f0000e8400000003e0000484103cd012c339502c408000080be000000c004c41004000000090000000100000000000100c410000080be000040c000000000000080ffc0",
  "stepped with runners-up":
    "dc00110304c4010107000002c400c400c00cc4100000003f0000e8400000003e0000484103cd012c33c0940204c41004000000050000000600000070110100c404001003ff",
  "block with runners-up":
    "9c08c00004c4080900000070110100c30300c406003840470030c0c0940204c41004000000050000000600000070110100c404001003ff",
  block: "9c08c00004c4080900000070110100c30300c406003840470030c0c0c0",
  "block with a stamp returned":
    "9c0895cd012cc408000020400000484103cd012c337f04c40470110100c30300c406003840470030c0c0c0",
  "the last block, with what was verified and log-probabilities":
    "9c08c00002c4020500c20302c4060038404700309500c404000080be02c400c4009c02c406040005000600c403ffff01c40303ff80c4020102c403000102020202c4080b000c000d00ffffc40800b800be000000fcc0c0",
  "block that tells a lattice with a query":
    "9c08c00004c4080900000070110100c30300c406003840470030c09c02c4020b00c401ffc40109c40100c40100020202c4080b000c000d00ffffc40800b800be000000fcc40c0000003f0000003c7f800005c0",
  paused:
    "dc0011090cc4010107020202c4080b000c000d00ffffc40800b800be000000fcc00cc4100000003f0000e8400000003e0000484103cd012c33c0c0",
  alive: "910a",
  failed: "9504aa6f7665726c6f61646564bc54686520656e67696e6520697320627573793a207370c3a47465722ec007",
  "failed at a field": "9504af696e76616c69645f72657175657374a26e6fa670726f6d7074c0",
};

describe("the bytes on the wire do not change", () => {
  test.each(Object.entries(CLIENT))("%s", (name, message) => {
    expect(hex(encodeClient(message))).toBe(BYTES[name]);
  });

  test.each(Object.entries(SERVER))("%s", (name, message) => {
    expect(hex(encodeServer(message))).toBe(BYTES[name]);
  });
});

test("a reply with a lattice of 8 heads x 16 candidates has at most 700 bytes, and a query of rank 64 takes 137 more", () => {
  const { length } = encodeServer(fullReply());
  expect(length).toBeLessThanOrEqual(700);
  const query = { values: new Int8Array(128), scales: [1, 1] } as const;
  expect(encodeServer(fullReply(query)).length - length).toBe(137);
});

test("lattice log-probabilities are rounded to float16 and keep falling", () => {
  const logProbs = Float32Array.from({ length: 16 }, (_, i) => -2 - i * 1e-4);
  const lattice = { heads: 1, k: 16, tokens: new Uint32Array(16), logProbs, query: null };
  const sent: ServerMessage = { type: "stepped", index: 0, result: { ...RESULT, lattice } };
  const received = decodeServer(encodeServer(sent));
  const got = received.type === "stepped" ? received.result.lattice.logProbs : [];
  expect(got).toEqual(Float32Array.from(new Float16Array(logProbs)));
  expect(got).toEqual(Float32Array.from(got).sort((a, b) => b - a));
});

test("what is decoded does not change with the buffer it came in", () => {
  const bytes = new Uint8Array(encodeClient(CLIENT["step with a tree"]!));
  const decoded = decodeClient(bytes);
  bytes.fill(0);
  expect(decoded).toEqual(CLIENT["step with a tree"]);
  const reply = new Uint8Array(encodeServer(SERVER.stepped!));
  const result = decodeServer(reply);
  reply.fill(0);
  expect(result).toEqual(SERVER.stepped);
});

test("an encoded frame stays as it is when others are encoded", () => {
  const first = encodeServer(SERVER.stepped!);
  const before = hex(first);
  for (let i = 0; i < 100; i++) encodeServer(fullReply());
  expect(hex(first)).toBe(before);
});

test("overlong error texts are cut rather than refused", () => {
  const long: ServerMessage = {
    type: "failed",
    code: "internal",
    message: "x".repeat(5000),
    param: "y".repeat(500),
    retryAfterS: null,
  };
  const received = decodeServer(encodeServer(long));
  expect(received).toMatchObject({ type: "failed", message: "x".repeat(1024), param: "y".repeat(128) });
});

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
