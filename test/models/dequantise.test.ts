import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { blockBytes, blockSize, dequantise, typeName } from "../../models/dequantise.ts";

interface Golden {
  readonly types: Record<string, { type: number; data: string; values: string }>;
}
const golden = JSON.parse(readFileSync(new URL("golden/blocks.json", import.meta.url), "utf8")) as Golden;
const decode = (text: string) => new Uint8Array(Buffer.from(text, "base64"));

describe("dequantise", () => {
  it.each(Object.entries(golden.types))("reads %s as the gguf package does", (name, { type, data, values }) => {
    const expected = new Float32Array(decode(values).buffer);
    const actual = dequantise(type, decode(data));
    expect(typeName(type)).toBe(name);
    expect(actual.length).toBe(expected.length);
    expect(actual.length / blockSize(type)).toBe(decode(data).length / blockBytes(type));
    // The reference multiplies in another order: one rounding of float32 apart.
    const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    for (let i = 0; i < expected.length; i++) {
      expect(Math.abs(actual[i]! - expected[i]!), `${name} value ${i}`).toBeLessThanOrEqual(largest * 2e-7);
    }
  });

  it("refuses a type it does not know and half a block", () => {
    expect(() => dequantise(99, new Uint8Array(4))).toThrow(/GGML type 99 is not supported; supported: F32/);
    expect(() => dequantise(8, new Uint8Array(33))).toThrow(/33 bytes are not whole Q8_0 blocks/);
  });
});
