import { expect, it } from "vitest";
import { GraphBuilder } from "../../models/compile/graph.ts";

it("names a tensor that has values which float16 cannot hold", () => {
  const graph = new GraphBuilder();
  graph.halves("small", Float32Array.of(65_504, -65_504), [2]);
  expect(() => graph.halves("blk.0.qkv", Float32Array.of(1, -70_000), [2])).toThrow(
    "blk.0.qkv has values that float16 cannot hold: take --precision fp32",
  );
});
