import { describe, expect, it } from "vitest";
import { GGML } from "../../models/dequantise.ts";
import { halfSplitRows } from "../../models/rows.ts";

describe("halfSplitRows", () => {
  it("puts interleaved rotary rows back, head by head", () => {
    // Stored order of two heads of four rows: first half and second half alternate.
    const stored = Float32Array.of(0, 2, 1, 3, 10, 12, 11, 13);
    const tensor = { type: GGML.F32, rows: 8, columns: 1, data: new Uint8Array(stored.buffer) };
    const { data } = halfSplitRows(tensor, 2);
    expect([...new Float32Array(data.buffer)]).toEqual([0, 1, 2, 3, 10, 11, 12, 13]);
  });
});
